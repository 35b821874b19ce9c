"""Keeps passwords out of the log."""

from __future__ import annotations

import logging
import re

# The credentials in a URL, as a package index may have them.
_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#@]+@")


class Masked(logging.Formatter):
    """Formats lines without the passwords in URLs, also in those of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def masked(text: str) -> str:
    """Return the text without the passwords in URLs."""
    return _PASSWORD.sub(r"\1***@", text)
