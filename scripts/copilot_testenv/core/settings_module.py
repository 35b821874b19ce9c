"""Find the settings module that a Django project's manage.py names."""

from __future__ import annotations

import re

# `setdefault("…", "…")`, as startproject writes it, or `environ["…"] = "…"`.
_NAMED = re.compile(r"""DJANGO_SETTINGS_MODULE["'\]]+\s*[,=]\s*["']([\w.]+)["']""")


def of_manage(text: str) -> str:
    """Return the settings module that the text of a manage.py sets; empty where it sets none."""
    match = _NAMED.search(text)
    return match[1] if match else ""
