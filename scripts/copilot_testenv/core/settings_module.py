"""The settings that a Django project's manage.py names."""

from __future__ import annotations

import re

# `setdefault("…", "…")`, as startproject writes it, or `environ["…"] = "…"`.
_NAMED = re.compile(r"""DJANGO_SETTINGS_MODULE["'\]]+\s*[,=]\s*["']([\w.]+)["']""")


def of_manage(text: str) -> str:
    """Return the module that this text of manage.py sets; empty where it sets none."""
    found = _NAMED.search(text)
    return found[1] if found else ""
