"""Steps after a copy change the new database before it serves, once, all or nothing."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy import after
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Misconfigured
from tests.runtime.stage_copy.project import Project
from tests.runtime.stage_copy.servers import PostgresServer
from tests.runtime.staging import COPY, OWNER, OWNER_PASSWORD, READER, STAGE, Target, only_error

if TYPE_CHECKING:
    from collections.abc import Mapping

TEST_PASSWORD = "known-to-testers-7"
SETTINGS = """
import json, os
from demo.settings import *
STAGE_COPY = {**STAGE_COPY, "after": json.loads(os.environ["AFTER"])}
if not os.environ.get("GOLDEN"):
    del STAGE_COPY["golden"]
"""
HOOKS = """
from django.contrib.auth.models import User
from django.db import connection

def prepare(deployment):
    User.objects.create(username=deployment.branch, email=deployment.host)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE prepared AS SELECT current_database()::text AS base, %s AS environment",
                       [deployment.environment])

def fails(deployment):
    User.objects.create(username="half")
    raise ValueError(f"secret words of {deployment.branch}")
"""
RELEASE = {"branch": "feature/x", "commit": "c" * 40, "deploy": "d1"}


@pytest.fixture(scope="module", autouse=True)
def staged(demo: Project, server: PostgresServer) -> None:
    (demo.home / "after_copy.py").write_text(SETTINGS)
    (demo.home / "hooks.py").write_text(HOOKS)
    (demo.home / "deployment.json").write_text(json.dumps(RELEASE))
    with server.connect(STAGE, OWNER, OWNER_PASSWORD) as connection:
        for statement in (
            "CREATE TABLE django_site (id int PRIMARY KEY, domain varchar(100) UNIQUE, name varchar(50))",
            "INSERT INTO django_site VALUES (1, 'shop.com', 'A'), (2, 'shop.fr', 'B'), (3, 'x.test', 'C')",
            "CREATE TABLE authtoken_token (key varchar(40) PRIMARY KEY, user_id int REFERENCES auth_user)",
            "CREATE TABLE oauth2_provider_accesstoken (id int PRIMARY KEY, token text)",
            "CREATE TABLE oauth2_provider_refreshtoken (id int REFERENCES oauth2_provider_accesstoken)",
            "INSERT INTO oauth2_provider_accesstoken VALUES (1, 't')",
            "INSERT INTO oauth2_provider_refreshtoken VALUES (1)",
            "INSERT INTO authtoken_token VALUES ('k', NULL)",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
        ):
            connection.execute(statement.encode())


def copy(target: Target, steps: object, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    setting = {"DJANGO_SETTINGS_MODULE": "after_copy", "AFTER": json.dumps(steps)}
    done: subprocess.CompletedProcess[str] = target.manage(
        *COPY, *words, **setting, **{"COPILOT_LB_DNS": "x.localhost:8000", **variables}
    )
    return done


ALL = [
    "django_site",
    "tokens_off",
    {"test_users": {"password": TEST_PASSWORD, "users": ["tester", {"username": "boss", "superuser": True}]}},
    "hooks.prepare",
]


def test_steps_run_in_the_new_database_with_the_deployment_in_hand(target: Target) -> None:
    target.mark()
    done = copy(target, ALL, "--json")
    assert done.returncode == 0, done.stderr
    assert TEST_PASSWORD not in done.stdout + done.stderr
    sites = "SELECT string_agg(domain, ' ' ORDER BY id) FROM django_site"
    assert target.one(sites) == "x.localhost site-2.x.localhost site-3.x.localhost"
    assert target.one("SELECT name FROM django_site WHERE id = 1") == "feature/x"
    tokens = "authtoken_token", "oauth2_provider_accesstoken", "oauth2_provider_refreshtoken"
    assert [target.one(f"SELECT count(*) FROM {table}") for table in tokens] == [0, 0, 0]
    assert target.one("SELECT is_superuser AND is_staff FROM auth_user WHERE username = 'boss'")
    assert not target.one("SELECT is_superuser FROM auth_user WHERE username = 'tester'")
    assert target.one("SELECT email FROM auth_user WHERE username = 'feature/x'") == "x.localhost"
    assert target.one("SELECT base FROM prepared").startswith(target.name)
    look = (
        "from django.contrib.auth import authenticate as a; print(a(username='boss', password='"
        + TEST_PASSWORD
    )
    said = target.manage("shell", "-c", f"{look}'))", AFTER="[]").stdout
    assert said.splitlines()[-1] == "boss"
    again = copy(target, [*ALL, "hooks.fails"])  # the same release: nothing runs a second time
    assert "Kept" in again.stdout
    assert target.beside() == []


def test_a_step_that_fails_leaves_the_target_as_it_was_and_shows_no_words(target: Target) -> None:
    target.mark()
    error = only_error(copy(target, ["django_site", "hooks.fails"]), 4)
    assert (
        "hooks.fails failed, and the target is as it was: it raised ValueError at hooks.py, line 13" in error
    )
    assert "secret words" not in error
    assert target.is_untouched()


@pytest.mark.nightly
def test_steps_run_on_a_clone_and_not_on_the_golden_copy(target: Target) -> None:
    target.mark()
    for _ in range(2):
        done = copy(target, ["django_site"], "--json", "--fresh", GOLDEN="1")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["how"] == "cloned"
        assert target.one("SELECT domain FROM django_site WHERE id = 1") == "x.localhost"
    done = copy(target, [], "--json", "--fresh", GOLDEN="1")
    assert target.one("SELECT domain FROM django_site WHERE id = 1") == "shop.com"


def test_a_tester_gets_a_login_by_a_hash_alone(target: Target) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher  # noqa: PLC0415

    hashed = PBKDF2PasswordHasher().encode(TEST_PASSWORD, "abcdefghij12", 10_000)

    def make(name: str, value: str = hashed) -> subprocess.CompletedProcess[str]:
        setting = {"DJANGO_SETTINGS_MODULE": "after_copy", "AFTER": "[]", "TEST_USER_HASH": value}
        done: subprocess.CompletedProcess[str] = target.manage(
            "copy_stage_db", "--test-user", name, **setting
        )
        return done

    target.mark()
    assert copy(target, []).returncode == 0
    for name in ("ada", "ada", "ada@example.org"):
        made = make(name)
        assert made.returncode == 0, made.stderr
        assert (made.stdout, made.stderr) == ("", f'copy_stage_db: user "{name}" is there for testers\n')
    of_ada = "FROM auth_user WHERE username = 'ada'"
    assert target.one(f"SELECT password {of_ada}") == hashed
    assert target.one(f"SELECT is_staff AND is_superuser AND is_active {of_ada}")
    for name, value, why in (("a b", hashed, "a name has"), ("eve", TEST_PASSWORD, "holds no hash")):
        refused = make(name, value)
        assert why in only_error(refused, 2)
        assert TEST_PASSWORD not in refused.stderr


def test_a_site_without_a_known_host_is_refused_before_anything_is_copied(target: Target) -> None:
    target.mark()
    error = only_error(copy(target, ["django_site"], COPILOT_LB_DNS=""), 2)
    assert "knows no host: set DEPLOYMENT_HOST" in error
    assert target.is_untouched()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("django_site", "is not a list"),
        (["sites"], "no step"),
        ([["django_site"]], "no step"),
        (["nowhere.at_all"], "cannot be imported"),
        (["os.path"], "is not a function"),
        ([{"django_site": {"host": "x"}}], "has no 'host'"),
        ([{"test_users": {"users": ["x"]}}], 'has no "password"'),
        ([{"test_users": {"password": None}}], 'has no "password"'),
        ([{"test_users": {"password": TEST_PASSWORD, "users": [{"name": "x"}]}}], 'write "users"'),
    ],
)
def test_a_step_that_is_none_is_one_clear_line_without_the_password(setting: object, why: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        Options.read({"after": setting}, key="made-up")
    assert why in str(raised.value)
    assert TEST_PASSWORD not in str(raised.value)


def test_no_password_is_shown_with_the_options() -> None:
    steps: Mapping[str, object] = {"test_users": {"password": TEST_PASSWORD}}
    assert TEST_PASSWORD not in repr(Options.read({"after": [steps]}, key="made-up"))
    assert TEST_PASSWORD not in repr(after.read([steps]))
