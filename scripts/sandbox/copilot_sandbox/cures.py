"""Say what to do about a command of the project that failed, by the last lines of its output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The sentence of Django's loader of migrations.
_NO_MIGRATIONS = re.compile(r"Dependency on app with no migrations: (?P<app>\w+)")
# The sentences of the dynamic loader, of cffi (WeasyPrint), of GeoDjango and of python-magic.
_NO_LIBRARY = re.compile(
    r"(?P<loader>[\w.+-]+\.so[\d.]*): cannot open shared object|cannot load library '(?P<cffi>[\w./+-]+)'"
    r"|Could not find the (?P<gis>GDAL|GEOS) library|failed to find (?P<magic>libmagic)"
)
# Postgres's sentence. Django names a table APP_MODEL.
_NO_TABLE = re.compile(r'relation "(?P<table>\w+)" does not exist')
# The sentences of os.environ, of django-environ and of python-decouple.
_NO_VARIABLE = re.compile(
    r"environ(?:.|\n)*KeyError: '(?P<key>[A-Z][A-Z0-9_]*)'|Set the (?P<environ>\w+) environment variable"
    r"|UndefinedValueError: (?P<decouple>\w+) not found"
)
# How settings refuse a value.
_REFUSED = re.compile(
    r"^(?:[\w.]+\.)?(?:AssertionError|ImproperlyConfigured|KeyError|ValueError|ValidationError)\b",
    re.MULTILINE,
)
_NO_MODULE = re.compile(r"No module named '(?P<module>[\w.]+)'")


def cure(  # noqa: PLR0911 - a return for each cause
    output: str, secrets: Iterable[str] = ()
) -> str:
    """Return what to do, as sentences; empty if the output shows nothing that is known.

    `secrets` are the names of variables whose values may be made up.
    """
    if found := _NO_MIGRATIONS.search(output):
        return (
            f"Git has no migrations of the app {found['app']}: commit what `manage.py makemigrations "
            f"{found['app']}` writes, or let SANDBOX_STAGE_COMMAND make them before `migrate`."
        )
    if found := _NO_LIBRARY.search(output):
        return (
            f"The image has no library {found[found.lastgroup or 0]}: without an engine no apt-get is "
            "carried out, so install it on this machine, or install an engine, Podman or Docker."
        )
    if found := _NO_MODULE.search(output):
        return (
            f"The image has no module {found['module']}: if it is the project's own, Git does not have its "
            "file (`git check-ignore -v FILE` says why), and only committed files are deployed; if it is a "
            "package's, the Dockerfile does not install it."
        )
    refused = [name for name in secrets if re.search(rf"\b{re.escape(name)}\b", output)]
    if refused and _REFUSED.search(output):
        return (
            f"The project may refuse the value of {', '.join(refused)}: if it is a made-up one, write a real "
            f"one, {refused[0]}=value, into .sandbox.env beside copilot/."
        )
    if found := _NO_VARIABLE.search(output):
        name = found[found.lastgroup or 0]
        return f"The manifest gives no variable {name}: name it there under `variables` or `secrets`."
    if found := _NO_TABLE.search(output):
        return (
            f"Nothing has made the table {found['table']}: if the image has no migrations of its app, commit "
            "what `manage.py makemigrations` writes, and let .gitignore and .dockerignore pass it; or let "
            "SANDBOX_STAGE_COMMAND make them before `migrate`."
        )
    return ""
