"""Of a failed container's lines, the one that says why."""

from __future__ import annotations

import pytest

from copilot_testenv.deploys.container_log import cause

TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "/app/manage.py", line 9, in <module>',
    'psycopg.errors.UndefinedTable: relation "x" does not exist',
    "LINE 1: SELECT 1 FROM x",
    "The above exception was the direct cause of the following exception:",
    "Traceback (most recent call last):",
    "    raise dj_exc_value.with_traceback(traceback) from exc_value",
    'django.db.utils.ProgrammingError: relation "x" does not exist',
    "LINE 1: SELECT 1 FROM x",
    "                      ^",
)  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (TRACEBACK, 'django.db.utils.ProgrammingError: relation "x" does not exist'),
        (
            ("  Applying shop.0001_initial... OK", *TRACEBACK, "  Applying shop.0002_broken..."),
            'django.db.utils.ProgrammingError: relation "x" does not exist (migration shop.0002_broken)',
        ),
        (
            ("  Applying shop.0001_initial... OK", "CommandError: no such app"),
            "CommandError: no such app",
        ),
        (("copy_stage_db: Error: the target has no mark",), "copy_stage_db: Error: the target has no mark"),
        (
            ("django.core.exceptions.ImproperlyConfigured: Set the KEY variable", "[INFO] Worker exiting"),
            "django.core.exceptions.ImproperlyConfigured: Set the KEY variable",
        ),
        (("starting", "INFO: ready", "  ValueError: quoted in a message"), ""),
        ((), ""),
    ],
)
def test_the_cause_is_the_last_line_of_the_last_traceback(lines: tuple[str, ...], found: str) -> None:
    assert cause(lines) == found
