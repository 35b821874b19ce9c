"""Keeps passwords out of the log."""

from __future__ import annotations

import logging
import re

# The credentials in a URL, as a package index may have them.
_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#@]+@")


class Masked(logging.Formatter):
    """Formats lines without the passwords in URLs, also in those of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return _PASSWORD.sub(r"\1***@", super().format(record))
