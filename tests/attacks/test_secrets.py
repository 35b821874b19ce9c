"""A password in a setting, in an address however malformed, or in a row: no output of ours repeats it."""

from __future__ import annotations

import copy
import json
import pickle
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from invoke import Context
from invoke.exceptions import Exit

from copilot_testenv import menu
from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed, UsageError, UserError
from copilot_testenv.core.process import Command, Result, output_of
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.core.terminal import Terminal, as_json
from copilot_testenv.deploys.deploy import Options, deploy
from copilot_testenv.session import Session
from django_testenv.stage_copy import database_url
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.problems import CopyError
from django_testenv.stage_copy.secret import Hidden, Secret
from tests.fakes import FakeReport, FakeShell
from tests.hidden import SECRET, URL, assert_hidden, everything

ROOT = Path(__file__).parents[2]
# Addresses, malformed in ways that people find: what stands in the place of `PW` is the password.
SHAPES = [
    "postgres://u:PW@[::1/db",
    "postgres://u:PW@::1]/db",
    "postgres://u:[PW@h/db",
    "postgres://u:PW]@h/db",
    "postgres://u:PW@h]/db",
    "postgres://[u:PW@h/db",
    "postgres://u:PW\u2100@h/db",
    "postgres://u:\uff0fPW@h/db",
    "postgres://u:PW\uff20h/db",
    "postgres://u:PW@h\u2488/db",
    "postgres://\uff1au:PW@h/db",
    "postgres://u:PW\ufe16@h/db",
    "postgres://u:/PW@h",
    "postgres://u:/PW@h/db",
    "postgres://u:12/PW@h/db",
    "postgres://u:PW/@h/db",
    "postgres://u:#PW@h/db",
    "postgres://u:12#PW@h/db",
    "postgres://u:?PW@h/db",
    "postgres://u:12?PW@h/db",
    "postgres://u:x@PW@h/db",
    "postgres://u:x@PW/y@h/db",
    "postgres://u:x@PW?y@h/db",
    "postgres://u:x@PW:y@h/db",
    "postgres://u:PW @h/db",
    "postgres://u: PW@h/db",
    "postgres://u:PW\n@h/db",
    "postgres://u:PW\t@h/db",
    "postgres://u:PW\x00@h/db",
    "postgres://u:PW\x1b@h/db",
    "postgres://u:PW\u202e@h/db",
    "postgres://u:PW\udcff@h/db",
    "postgres://u:%PW@h/db",
    "postgres://u:PW%@h/db",
    "postgres://u:PW%zz@h/db",
    "postgres://u:PW%ff@h/db",
    "postgres://u:PW%00@h/db",
    "postgres://u:PW@h:port/db",
    "postgres://u:PW@h:99999/db",
    "postgres://u:PW@h:-1/db",
    "postgres://u:PW@h:5432:5433/db",
    "postgres://u:PW@h",
    "postgres://u:PW@h/",
    "postgres://u:PW@/",
    "postgres://u:PW@",
    "postgres://u:PW",
    "postgres:/u:PW@h/db",
    "postgres:u:PW@h/db",
    "postgres//u:PW@h/db",
    "://u:PW@h/db",
    "u:PW@h/db",
    "PW",
    "mysql://u:PW@h/db",
    "postgresql+psycopg://u:PW@h/db",
    "POSTGRES://u:PW@h/db",
    " postgres://u:PW@h/db",
    '"postgres://u:PW@h/db"',
    "'postgres://u:PW@h/db'",
    "DATABASE_URL=postgres://u:PW@h/db",
    "postgres://u:PW@h/db@other",
    "postgres://u:PW@h/db?PW",
    "postgres://u:PW@h/db?sslmode=PW",
    "postgres://u:PW@h/db?connect_timeout=PW",
    "postgres://u:PW@h/db?unknown=PW",
    "postgres://u@h/db?pasword=PW",
    "postgres://u:PW@h/db?host=a@PW",
    "postgres://u:PW@h/db#PW",
    "postgres://u:PW@h db/db",
    "postgres://u:PW@h\\db/db",
    "postgres://u:PW@h/db;drop",
    "postgres://u:PW@h/d:b",
    "postgres://u:PW@h/a/b",
    "host=h user=u password=PW dbname=db",
]


def wrong(url: str) -> bool:
    """Return True if it cannot be read: letters that only look like `/` or `@` are letters of a password."""
    try:
        database_url.parse(url)
    except ValueError:
        return True
    return False


def tried(url: str) -> str:
    """All that can be seen of reading a URL, as a project's settings and this one's do."""
    seen = []
    reads: list[Callable[[], dict[str, Any]]] = [
        lambda: database_url.parse(url),
        lambda: database_url.of("DATABASE_URL", {"DATABASE_URL": url}),
    ]
    for read in reads:
        try:
            found = read()
        except ValueError as error:
            seen.append(everything(error))
        else:
            seen.append(f"{found!r} {found | {'PASSWORD': ''}!s} {json.dumps(found | {'PASSWORD': ''})}")
            seen.append(repr(Database.from_django("default", found)))
    return "\n".join(seen)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_address_however_malformed_keeps_its_password(shape: str) -> None:
    assert_hidden(tried(shape.replace("PW", SECRET)))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_prints_keeps_it_too(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The second wall: whatever error or log of anybody's holds the address. A bare word is not one."""
    if "://" not in shape or shape.startswith("://"):
        return
    Terminal().say(f"cannot read {shape.replace('PW', SECRET)}")
    if "\n" not in shape:  # what breaks the line leaves it
        assert_hidden(capsys.readouterr().err)


BREAKING = "@:/?#[]%&=+;, \\\"'\t\n\x00\u2100\uff0f\uff20\u2488\u202e\udcffé"


@st.composite
def malformed(draw: st.DrawFn) -> tuple[str, str]:
    """A URL whose password is broken by letters that part addresses; and the password."""
    cuts = draw(st.lists(st.tuples(st.integers(0, len(SECRET)), st.sampled_from(BREAKING)), max_size=4))
    password = SECRET
    for place, letter in cuts:
        password = password[:place] + letter + password[place:]
    scheme = draw(
        st.sampled_from(["postgres://", "postgresql://", "postgres:/", "mysql://", "", "://", "http://"])
    )
    user = draw(st.sampled_from(["u", "", "a:b", "[", "u%zz", "ü", "u u"]))
    host = draw(
        st.sampled_from(["h", "", "[::1]", "[::1", "::1]", "h h", "h%2", "h:x", "1.2.3.4:99999", "\uff48"])
    )
    end = draw(st.sampled_from(["/db", "", "/", "/d@b", "?x", "/db?sslmode=x", "/db#f", "/a/b", ":5432/db"]))
    noise = draw(st.text(alphabet=st.sampled_from(BREAKING), max_size=2))
    where = draw(st.integers(0, 3))
    parts = [scheme, user, ":", password, "@", host, end]
    parts.insert(2 * where, noise)
    return "".join(parts), SECRET


@given(malformed())
@example(("postgres://u:/Xq7wZk9vJp4Y@h", SECRET))
def test_no_malformed_address_shows_a_piece_of_its_password(case: tuple[str, str]) -> None:
    url, secret = case
    assert_hidden(tried(url), secret)


@given(malformed())
def test_no_setting_that_is_an_address_is_repeated(case: tuple[str, str]) -> None:
    url, secret = case
    shown = repr(display.Given(url))
    if "@" in url and len(url) > 20:
        assert_hidden(shown, secret)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p%40w@h:5432/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgres://user:pass:word@db-1.abc.eu-central-1.rds.amazonaws.com/app_test",
        "postgres://u:pä$s!w*rd@h/db",
        "postgres://u@h/db?application_name=web&connect_timeout=3",
        "postgres://u:p@/db?host=/run/postgresql",
        "postgres://u:p@%2Frun%2Fpostgresql/db",
        "postgres://u:p@h/db?options=-c%20statement_timeout%3D5s",
    ],
)
def test_near_misses_are_read(url: str) -> None:
    assert database_url.parse(url)["NAME"] in {"db", "app_test"}


@pytest.mark.parametrize(
    "changed",
    [
        {"NAME": f"{SECRET}@h"},
        {"NAME": f"postgres://u:{SECRET}"},
        {"NAME": f"password={SECRET}"},
        {"HOST": f"{SECRET}@h"},
        {"HOST": f"x {SECRET}"},
        {"PORT": SECRET},
        {"PORT": f"12/{SECRET}"},
    ],
)
def test_a_piece_of_an_address_in_a_projects_own_settings_is_refused(changed: dict[str, str]) -> None:
    facts = {"NAME": "db", "USER": "u", "PASSWORD": SECRET, "HOST": "h", "PORT": "1"} | changed
    with pytest.raises(CopyError, match="looks like a piece of a URL") as told:
        Database.from_django("default", facts)
    assert_hidden(everything(told.value))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"OPTIONS": {"sslmode": SECRET}},
        {"OPTIONS": {"connect_timeout": SECRET}},
        {"PASSWORD": "", "USER": SECRET},
    ],
)
def test_a_database_that_cannot_be_reached_keeps_its_password(changed: dict[str, Any]) -> None:
    facts = {"NAME": "db", "USER": "u", "PASSWORD": SECRET, "HOST": "127.0.0.1", "PORT": "1"} | changed
    database = Database.from_django("default", facts)
    with pytest.raises(CopyError, match='cannot connect to database "db"') as told:
        database.connect()
    assert_hidden(everything(told.value))
    assert_hidden(f"{database!r} {database}")
    if not changed:
        assert_hidden(f"{database.parameters} {database.environment()}")


def test_a_secret_is_given_by_reveal_alone() -> None:
    secret = Secret(SECRET)
    assert secret.reveal() == SECRET
    assert f"{secret} {secret!r} {secret:>9}" + str([secret]) + "%s" % secret == "*** *** ***[***]***"  # noqa: UP031 - one of the ways
    for dump in (json.dumps, pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError) as told:
            dump(secret)
        assert_hidden(str(told.value))
    assert repr({"PASSWORD": Hidden(SECRET)}) == "{'PASSWORD': ***}"
    assert Hidden(SECRET) == SECRET


# The demo's settings


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if "\x00" not in shape and wrong(shape)])
def test_the_demos_settings_end_in_one_line_that_names_the_variable(
    shape: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET_KEY", "x")
    monkeypatch.setenv("DATABASE_URL", shape.replace("PW", SECRET))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "demo/settings.py"))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("settings: DATABASE_URL cannot be read: ")
    assert error.count("\n") == 1
    assert_hidden(error + everything(ended.value))


@pytest.mark.parametrize(
    "name",
    [
        "REDIS_PORT",
        "EMAIL_PORT",
        "LOG_LEVEL",
        "DATABASE_SUFFIX",
        "STAGE_DATABASE_URL",
        "SIDECAR_DATABASE_URL",
    ],
)
def test_a_password_in_another_variable_is_not_repeated(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET_KEY", "x")
    monkeypatch.setenv("DATABASE_URL", "postgres://u@h/db")
    monkeypatch.setenv(name, f"redis://u:{SECRET}@h")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "demo/settings.py"))
    error = capsys.readouterr().err
    assert name in error
    assert_hidden(error + everything(ended.value))


def test_no_setting_of_django_is_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("DATABASE_URL", URL)
    found = runpy.run_path(str(ROOT / "demo/settings.py"))
    assert_hidden(repr({name: value for name, value in found.items() if name.isupper()}))


# The tasks


SETTINGS = [
    "DEPLOY_TARGET", "TEST_ENV", "COPILOT_APP", "COPILOT_SERVICE", "DEPLOY_TIMEOUT", "SANDBOX_STAGE_MB",
    "TEST_DOMAIN", "TRUSTED_CHANGES",
]  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "value",
    [URL, URL.replace("@", "/@"), f"redis://:{SECRET}@h", f"u:{SECRET}@h", f"{SECRET}wJalrXUtnFEMI/K7MDENG"],
)
def test_a_secret_in_the_wrong_line_of_env_is_not_repeated(workspace: Path, name: str, value: str) -> None:
    (workspace / ".env").write_text(f"{name}='{value}'\n")
    with pytest.raises(UserError) as told:
        load(workspace, {})
    assert name in str(told.value)
    assert_hidden(str(told.value))


@pytest.mark.parametrize(
    "why", [f"see {URL}", f"redis://:{SECRET}@h", f"https://ci:{SECRET}@git.example/x", f"password={SECRET}"]
)
def test_a_reason_with_a_password_is_refused_before_it_is_a_tag(settings: Settings, why: str) -> None:
    shell = FakeShell()
    with pytest.raises(UsageError, match="--why holds") as told:
        deploy(Session(settings, shell, FakeReport(), {}), "main", Options(why=why))
    assert_hidden(str(told.value))
    assert shell.ran == []


def test_what_a_child_says_is_shown_without_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(("sh", "-c", f"psql {URL}"))
    assert_hidden(str(command))
    shell = FakeShell({"sh": Result(1, "", f"cannot reach {URL}\nPGPASSWORD={SECRET} psql")})

    @menu.verb()
    def ending() -> None:
        """End as a task does."""
        output_of(shell, command, "Asking")

    with pytest.raises(Exit) as ended:
        ending.body(None)
    assert_hidden(str(ended.value))
    Terminal().say(f"cannot reach {URL}")
    Terminal().table(URL, ("a",), [(URL,)])
    Terminal().data(as_json({"left": [f"it said {URL}"], "n": (1, URL)}))
    assert_hidden(str(capsys.readouterr()))


@pytest.mark.parametrize("with_traceback", ["", "1"])
def test_a_fault_of_the_tasks_is_told_without_passwords(
    monkeypatch: pytest.MonkeyPatch, with_traceback: str
) -> None:
    @menu.verb()
    def failing() -> None:
        """Fail."""
        raise ValueError(f"netloc {URL}")

    monkeypatch.setenv("TASKS_TRACEBACK", with_traceback)
    with pytest.raises(Exit) as ended:
        failing.body(Context())
    assert "ValueError" in str(ended.value)
    assert ("Traceback" in str(ended.value)) == bool(with_traceback)
    assert_hidden(str(ended.value))


def test_the_secrets_of_a_runs_own_settings_are_looked_for_in_every_line(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock.patch.object(display, "_known", set()):
        load(
            workspace, {"GITHUB_TOKEN": SECRET, "AWS_SECRET_ACCESS_KEY": f"{SECRET}/+", "APP_TOKEN": "short"}
        )
        Terminal().say(f"git said: bad token {SECRET}, {SECRET}/+; short")
    said = capsys.readouterr().err
    assert_hidden(said)
    assert "short" in said


def test_the_shapes_are_many() -> None:
    assert len(SHAPES) >= 70
    assert issubclass(Failed, UserError)
    assert psycopg.__version__
