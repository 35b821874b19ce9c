"""What others wrote moves no cursor, gives no command and holds no password where it is shown."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time

import pytest

from copilot_sandbox.masked import Masked
from copilot_testenv.core import display
from copilot_testenv.core.terminal import Terminal, as_json
from tests.hidden import URL, assert_hidden


@pytest.mark.parametrize(
    "line",
    [
        "main at 4f1c2a9d7be0 is served (3.1 s), until 2026-12-01T17:00:00Z:",
        "http://feature-x.localhost:8000/ by ada@example.org",
        "Would run: copilot env init --name test --profile default",
        "ssh://git@github.com/acme/shop.git",
        "its host: postgres://localhost:5432/name",
        "Put each as a SecureString: /copilot/demo/test/secrets/SECRET_KEY",
        "password_changed_at has no rule",
    ],
)
def test_ordinary_lines_are_shown_as_they_are(line: str) -> None:
    assert display.block(line) == line


@pytest.mark.parametrize(
    "line",
    [
        "::error file=x::forged",
        "  ::add-mask::a",
        "::set-output name=url::http://evil",
        "x ##[error]forged",
        "\t::stop-commands::x",
    ],
)
def test_a_line_of_a_containers_log_gives_github_no_command(line: str) -> None:
    shown = display.block(f"before\n{line}\nafter")
    assert all(each.lstrip()[:2] != "::" for each in shown.splitlines())
    assert "##[" not in shown
    assert display.block("::1 localhost") == "::1 localhost"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("SECRET_KEY=a value with spaces", "SECRET_KEY=***"),
        ("export STRIPE_API_KEY='sk x'", "export STRIPE_API_KEY=***"),
        ("SECRET_KEY = 'abc'", "SECRET_KEY = ***"),
        ("DATABASE_URL=sqlite:///x", "DATABASE_URL=***"),
        ("run with SMTP_PASSWORD=hunter2 now", "run with SMTP_PASSWORD=*** now"),
        ("{'USER': 'me', 'PASSWORD': 'a b', 'PORT': ''}", "{'USER': 'me', 'PASSWORD': ***, 'PORT': ''}"),
        ('{"API_TOKEN": "x", "a": 1}', '{"API_TOKEN": ***, "a": 1}'),
        ("pem -----BEGIN RSA PRIVATE KEY-----\nQUJD\nREVG\n-----END RSA PRIVATE KEY-----\nx", "pem ***\nx"),
        # Names of parameters, and what is no secret.
        ("SECRET_KEY=/copilot/demo/test/secrets/SECRET_KEY", ""),
        ("SECRET_KEY=arn:aws:secretsmanager:eu-west-1:1:secret:x", ""),
        ("PATH=/usr/bin", ""),
        ("PWD=/app", ""),
        ("pwd=/app; PWD=hunter2", "pwd=***; PWD=***"),
        ("primary_key=True, token=models.CharField()", ""),
        ("'PASSWORD': None, 'KEY': 3", ""),
        ("SECRET_KEY= is empty", "SECRET_KEY= ***"),
        ("Set SECRET_KEY in .env", ""),
    ],
)
def test_the_value_of_a_variable_that_is_named_like_a_secret_is_not_shown(line: str, shown: str) -> None:
    assert display.block(line) == (shown or line)


def test_a_long_line_of_capital_letters_is_masked_in_time() -> None:
    began = time.monotonic()
    for text in ("A_" * 50_000, "_KEY" * 25_000, "-----BEGIN PRIVATE KEY-----" + "\nA" * 50_000):
        display.block(text)
    assert time.monotonic() - began < 5


def test_a_containers_terminal_sequences_move_nothing() -> None:
    log = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x9b2J\rforged\x08\tend\x1b"
    shown = display.block(log)
    assert shown == "red \\x9b2J\\rforged\\x08\tend\\x1b"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        Terminal().data(log)
    assert out.getvalue() == f"{shown}\n"


def test_json_shows_what_cannot_be_seen_as_its_escapes() -> None:
    document = {"branch": "a\u202eb\x9b\U000e0067\x7f\nz"}
    text = as_json(document)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert json.loads(text) == document


def test_the_sandboxs_log_has_no_passwords() -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(Masked("%(name)s: %(message)s"))
    logger = logging.getLogger("of the sandbox")
    logger.addHandler(handler)
    try:
        int(URL)
    except ValueError:
        logger.exception("cannot reach %s", URL)
    logger.removeHandler(handler)
    assert "Traceback" in log.getvalue()
    assert_hidden(log.getvalue())


@pytest.mark.parametrize(
    "text",
    [
        "postgres://a " * 4000,
        "postgres://a@" * 4000,
        "http://a" * 4000,
        "a.b-" * 8000,
        (" " * 100 + "\n") * 500,
        " " * 40000 + "::x",
        "\x1b[" * 8000,
        "\x1b]" * 8000,
        "password" + " " * 20000,
    ],
)
def test_no_log_keeps_the_tasks_busy(text: str) -> None:
    """Were one of these looked at in the square of its length, it would take minutes."""
    began = time.process_time()
    display.block(text)
    assert time.process_time() - began < 5
