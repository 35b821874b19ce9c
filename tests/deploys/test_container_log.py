"""Of a failed container's lines, the one that says why."""

from __future__ import annotations

import pytest

from copilot_testenv.deploys.container_log import cause, quoted, without_libraries

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


FRAMES = (
    '  File "/app/manage.py", line 9, in <module>',
    "    main()",
    '  File "/usr/local/lib/python3.13/site-packages/django/core/management/base.py", line 420, in run',
    "    self.execute(*args)",
    "    ^^^^^^^^^^^^^^^^^^^",
    '  File "<frozen importlib._bootstrap>", line 1, in _load',
    '  File "/app/shop/migrations/0003_x.py", line 7, in forwards',
    "    p.weight = p.wieght",
)
IN_A_LIBRARY = ('  File "/opt/venv/lib/python3.9/site-packages/psycopg/cursor.py", line 97', "    raise ex")
ERROR = "AttributeError: no attribute 'wieght'"


def test_of_a_traceback_the_frames_in_libraries_are_left_out() -> None:
    head = "Traceback (most recent call last):"
    assert without_libraries([head, *FRAMES, ERROR]) == [head, *FRAMES[:2], "  […]", *FRAMES[6:], ERROR]


def test_the_frame_that_raised_the_error_stays_wherever_it_is() -> None:
    shown = without_libraries([*FRAMES[2:5], *IN_A_LIBRARY, ERROR, "next line"])
    assert shown == ["  […]", *IN_A_LIBRARY, ERROR, "next line"]
    assert without_libraries([*FRAMES[2:5], *IN_A_LIBRARY]) == ["  […]", *IN_A_LIBRARY]  # the log is cut off


def test_lines_without_a_traceback_stay() -> None:
    lines = ["  Applying shop.0001_initial... OK", "", '    File "x" is not a frame', "done"]
    assert without_libraries(lines) == lines


def test_equal_lines_one_after_the_other_are_quoted_once_with_their_number() -> None:
    assert quoted(["ready", "no Redis", "no Redis", "ready"], "  ") == [
        *("  ready", "  no Redis (2 times)", "  ready"),
    ]
    assert quoted([]) == ["  (it wrote none)"]
