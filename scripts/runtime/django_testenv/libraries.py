"""Make psycopg 3 importable for copy_stage_db where the project itself has psycopg2.

Django 4.2 and later use psycopg 3 if they can import it, so the image of a project with psycopg2 must not
have it among its packages. It is installed in a folder of its own, which DJANGO_TESTENV_LIBRARIES names:

    RUN pip install --no-cache-dir --target /opt/django-testenv "psycopg[binary]>=3.2,<4"
    ENV DJANGO_TESTENV_LIBRARIES=/opt/django-testenv

Source: https://docs.djangoproject.com/en/5.2/ref/databases/#postgresql-notes
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from contextlib import suppress

from django.core.exceptions import ImproperlyConfigured

VARIABLE = "DJANGO_TESTENV_LIBRARIES"
# Django decides in this module which psycopg it uses.
_BACKEND = "django.db.backends.postgresql.base"


class MissingLibraryError(Exception):
    """A library is missing. The message says in one line which, and how to install it."""


def require_psycopg() -> None:
    """Make psycopg 3 importable in this process. Raise MissingLibraryError if it is not installed.

    Call it before anything else imports psycopg. If the project cannot import psycopg 3, Django's Postgres
    backend is loaded first, so that it chooses psycopg2; the folder comes last on sys.path, so that the
    project's own packages take precedence.
    """
    if not _reason():
        return
    folder = os.environ.get(VARIABLE, "")
    if folder and folder not in sys.path:
        with suppress(ImproperlyConfigured):  # no psycopg2 either: Django may then take psycopg 3
            importlib.import_module(_BACKEND)
        sys.path.append(folder)
        importlib.invalidate_caches()
    if reason := _reason():
        if folder in sys.path:
            sys.path.remove(folder)
        place = f"{VARIABLE} names {folder}" if folder else f"{VARIABLE} names no folder that has it"
        raise MissingLibraryError(
            f'psycopg 3 is not installed: {reason}, and {place}: pip install "psycopg[binary]>=3.2", or '
            "install it apart with --target FOLDER and set that variable to FOLDER"
        )


def lend_psycopg() -> None:
    """Make psycopg 3 importable if the project has no driver for Postgres: it may use SQLite elsewhere.

    Django 4.2 and later take it; earlier ones need psycopg2, and Django says so.
    """
    folder = os.environ.get(VARIABLE, "")
    if folder and folder not in sys.path and not (_has("psycopg") or _has("psycopg2")):
        sys.path.append(folder)
        importlib.invalidate_caches()


def _has(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _reason() -> str:
    """Return in one line why psycopg cannot be imported; empty if it can."""
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        return str(error).splitlines()[0] if str(error) else "it cannot be imported"
    return ""
