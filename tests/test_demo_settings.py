"""The demo's settings are read, and what is missing or malformed is one line; its pins have hashes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from django_testenv.stage_copy import database_url
from tests.runtime.stage_copy.project import CHECKOUT, UNREACHABLE, Project, project


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project as its image holds it, with nothing but its secret key set."""
    return project(tmp_path_factory.mktemp("image") / "app")


def test_a_test_environment_whose_mail_would_leave_ends_at_once(bare: Project) -> None:
    variables = {"DATABASE_URL": UNREACHABLE, "EMAIL_HOST": "smtp.example"}
    for argv in (
        ["manage.py", "check"],
        ["-m", "gunicorn", "demo.wsgi", "--config", "demo/gunicorn_conf.py"],
    ):
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=bare.home,
            env=bare.environment(COPILOT_ENVIRONMENT_NAME="test", **variables),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode != 0
        assert "Mail would leave this test environment" in done.stderr
    assert bare.manage("check", COPILOT_ENVIRONMENT_NAME="stage", **variables).returncode == 0


@pytest.mark.parametrize(
    ("variables", "backend", "port"),
    [
        ({}, "console", 25),
        ({"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}, "dummy", 25),
        ({"EMAIL_HOST": "localhost", "EMAIL_PORT": "1025", "EMAIL_BACKEND": "console"}, "smtp", 1025),
    ],
)
def test_mail_goes_to_the_server_that_is_named_else_to_the_log(
    bare: Project, variables: dict[str, str], backend: str, port: int
) -> None:
    shown = "from django.conf import settings as s; print(s.EMAIL_BACKEND, s.EMAIL_PORT)"
    done = bare.manage("shell", "-c", shown, DATABASE_URL=UNREACHABLE, **variables)
    assert done.stdout.splitlines()[-1] == f"django.core.mail.backends.{backend}.EmailBackend {port}"


@pytest.mark.parametrize("missing", ["DATABASE_URL", "SECRET_KEY"])
def test_a_missing_variable_is_one_line_and_exit_code_2(bare: Project, missing: str) -> None:
    variables = {"DATABASE_URL": UNREACHABLE, "SECRET_KEY": "x", missing: ""}
    for arguments in (("check",), ("reset_db", "--noinput")):
        done = bare.manage(*arguments, **variables)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"settings: {missing} is not set: ")


def test_the_web_server_ends_at_once_when_a_variable_is_missing(bare: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "demo.wsgi", "--config", "demo/gunicorn_conf.py"],
        cwd=bare.home,
        env=bare.environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0
    assert "settings: DATABASE_URL is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_url_is_one_line_without_its_password(bare: Project) -> None:
    done = bare.manage("check", DATABASE_URL="mysql://shop:hunter2@db/shop")
    why = "it must begin with postgres://"
    assert (done.returncode, done.stderr) == (2, f"settings: DATABASE_URL cannot be read: {why}\n")


def test_a_branchs_database_is_named_by_the_url_and_the_suffix(bare: Project) -> None:
    named = "from django.conf import settings; print(settings.DATABASES['default']['NAME'])"
    for suffix, name in (("_feature_x_1a2b3c4", "shop_feature_x_1a2b3c4"), ("", "shop")):
        done = bare.manage("shell", "-c", named, DATABASE_URL=UNREACHABLE, DATABASE_SUFFIX=suffix)
        assert done.stdout.splitlines()[-1] == name


def test_a_database_beside_the_project_takes_the_place_of_the_shared_one(bare: Project) -> None:
    named = "from django.conf import settings; print(settings.DATABASES['default']['NAME'])"
    beside = "postgres://postgres:sidecar@localhost:5432/app"
    done = bare.manage("shell", "-c", named, SIDECAR_DATABASE_URL=beside, DATABASE_SUFFIX="_feature_x")
    assert done.stdout.strip().splitlines()[-1] == "app", done.stderr


@pytest.mark.parametrize("suffix", ["x", "_", "-x", "_a-b", "_a b", "_a\n", "_é"])
def test_a_malformed_suffix_is_one_line_and_exit_code_2(bare: Project, suffix: str) -> None:
    done = bare.manage("check", DATABASE_URL=UNREACHABLE, DATABASE_SUFFIX=suffix)
    why = f"DATABASE_SUFFIX is {suffix!r}: it must begin with _ and hold nothing but letters, digits and _"
    assert (done.returncode, done.stderr) == (2, f"settings: {why}\n")


@pytest.mark.parametrize(
    ("host", "encrypted"),
    [
        ("master.shop.cache.amazonaws.com", True),
        ("10.0.2.7", True),
        ("localhost", False),
        ("127.83.1.2", False),
    ],
)
def test_redis_is_spoken_to_in_tls_where_that_is_asked_for_and_it_is_another_machine(
    bare: Project, host: str, *, encrypted: bool
) -> None:
    asked = "from demo.shop import facts; print(facts._redis().connection_pool.connection_class.__name__)"
    for flag, name in (("1", "SSLConnection" if encrypted else "Connection"), ("0", "Connection")):
        done = bare.manage("shell", "-c", asked, DATABASE_URL=UNREACHABLE, REDIS_HOST=host, REDIS_TLS=flag)
        assert done.stdout.splitlines()[-1] == name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://user:pw@host:5432/db", ("user", "pw", "host", "5432", "db", {})),
        ("postgresql://user@host/db", ("user", "", "host", "", "db", {})),
        ("postgres://user:pw@/db?host=%2Frun%2Fsock", ("user", "pw", "/run/sock", "", "db", {})),
        ("postgres://user:pw@/db?host=/run/sock&port=6000", ("user", "pw", "/run/sock", "6000", "db", {})),
        (
            "postgres://user:pw@host/db?sslmode=require",
            ("user", "pw", "host", "", "db", {"sslmode": "require"}),
        ),
        ("postgres://u:p%40w%2F%3A%23@h/d%20b", ("u", "p@w/:#", "h", "", "d b", {})),
        ("postgres://u:p@[::1]:5433/db", ("u", "p", "::1", "5433", "db", {})),
    ],
)
def test_a_database_url_is_read(url: str, expected: tuple[Any, ...]) -> None:
    found = database_url.parse(url)
    keys = ("USER", "PASSWORD", "HOST", "PORT", "NAME")
    options = {key: value for key, value in found["OPTIONS"].items() if key != "connect_timeout"}
    assert (*(found[key] for key in keys), options) == expected


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "postgres://u:hunter2@h", "postgres://u:hun/ter2@h:5/d", "hunter2"]
)
def test_a_database_url_that_cannot_be_read_never_shows_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\bits?\b") as caught:
        database_url.parse(url)
    assert "hun" not in str(caught.value)


def test_every_pin_of_the_image_has_hashes_and_names_no_index() -> None:
    text = (CHECKOUT / "demo" / "requirements.txt").read_text()
    pins = re.findall(
        r"^[a-z][\w.\[\]-]*==[^\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n)+", text, re.MULTILINE
    )
    assert len(pins) == len(re.findall(r"^[a-z]", text, re.MULTILINE)) > 5
    assert "://" not in text
