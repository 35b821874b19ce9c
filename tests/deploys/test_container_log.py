"""Of a failed container's lines, the one that says why."""

from __future__ import annotations

import pytest

from copilot_testenv.deploys.container_log import cause, is_lasting, once, quoted, without_libraries

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


@pytest.mark.parametrize(
    ("error", "lasts"),
    [
        ('django.db.utils.ProgrammingError: relation "x" does not exist (migration shop.0002_x)', True),
        ("ModuleNotFoundError: No module named 'shop.weight'", True),
        ("django.db.utils.IntegrityError: column contains null values (migration shop.0002_x)", True),
        ("django.db.utils.OperationalError: connection failed: timeout expired", False),
        ("psycopg.errors.DeadlockDetected: deadlock detected", False),
        ("redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379", False),
        ("TimeoutError: [Errno 110] Connection timed out", False),
        ("CommandError: staging does not answer", False),
        ("copy_stage_db: Error: staging does not answer", False),
        ("", False),
    ],
)
def test_only_an_error_that_another_try_cannot_change_lasts(error: str, *, lasts: bool) -> None:
    assert is_lasting(error) is lasts


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


def test_the_lines_that_underline_others_are_left_out() -> None:
    lines = ['  File "a.py", line 1, in f', "    g(x)", "    ~^^^", "           ^^^^^^^^", "ValueError: ^"]
    assert quoted(lines, "") == [lines[0], lines[1], lines[4]]


def test_equal_lines_one_after_the_other_are_quoted_once_with_their_number() -> None:
    assert quoted(["ready", "no Redis", "no Redis", "ready"], "  ") == [
        *("  ready", "  no Redis (2 times)", "  ready"),
    ]
    assert quoted([]) == ["  (none has arrived in CloudWatch Logs)"]


def test_an_error_that_each_request_repeats_is_shown_once_with_its_last_numbers() -> None:
    error = ["ERROR: /", "ValueError: boom"]
    lines = ["Booting worker with pid: 9", *error, "GET / 91ms", *error, "GET / 1ms", *error, "GET / 2ms"]
    assert once(lines) == ["Booting worker with pid: 9", *error, "GET / 2ms"]
    assert once(["a", "b", "a"]) == ["a", "b", "a"]
    assert once([]) == []
