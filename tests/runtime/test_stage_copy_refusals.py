"""The command ends in one line that tells what to do, where it may not copy or cannot."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from django_testenv.stage_copy import guards
from django_testenv.stage_copy.database import Database
from tests.runtime.stage_copy.project import Project
from tests.runtime.stage_copy.servers import BIN, PostgresServer
from tests.runtime.staging import (
    COPY,
    OWNER,
    OWNER_PASSWORD,
    PASSWORD,
    READER,
    READER_PASSWORD,
    RESET,
    STAGE,
    TESTER,
    Target,
    numbers,
    only_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_a_target_without_the_mark_is_refused(target: Target) -> None:
    error = only_error(target.manage(*COPY), 3)
    assert f"copy_stage_db --mark-disposable {target.name} --confirm {target.name}" in error
    assert target.is_untouched()


def test_the_mark_outlives_a_reset(target: Target) -> None:
    for _ in range(2):  # twice is fine
        done = target.manage(*COPY, "--mark-disposable", target.name, "--confirm", target.name)
        assert done.returncode == 0, done.stderr
    assert target.manage(*RESET).returncode == 0
    assert target.manage(*COPY).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mark-disposable", "{name}"),
        ("--confirm", "{name}"),
        ("--mark-disposable", "{name}", "--confirm", "other"),
        ("--mark-disposable", "other", "--confirm", "other"),
        ("--mark-disposable", "", "--confirm", ""),
    ],
)
def test_a_mark_needs_the_targets_name_twice(target: Target, arguments: tuple[str, ...]) -> None:
    filled = [argument.format(name=target.name) for argument in arguments]
    assert "must both name the default database" in only_error(target.manage(*COPY, *filled), 3)
    assert "no disposable mark" in only_error(target.manage(*COPY), 3)


@pytest.mark.parametrize(
    "name", ["production", "Prod", "shop-live", "STAGE", "my_staging_2", "postgres", "proddb", "prd_main"]
)
def test_a_name_that_looks_protected_is_never_marked(target: Target, name: str) -> None:
    url = target.server.url(TESTER, PASSWORD, name)
    done = target.manage(*COPY, "--mark-disposable", name, "--confirm", name, DATABASE_URL=url)
    assert "is never thrown away" in only_error(done, 3)


def test_no_suffix_makes_a_branchs_database_of_productions(target: Target) -> None:
    name = f"{target.name}_production"
    flags = ("--mark-disposable", name, "--confirm", name)
    wanted = {"DATABASE_SUFFIX": "_production", "DATABASE_URL": target.url}
    error = only_error(target.manage(*COPY, *flags, **wanted), 3)
    assert f'the shared one, "{target.name}", carries no disposable mark' in error
    target.mark()
    done = target.manage(*COPY, *flags, **wanted)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "environment", "deployed", "said"),
    [
        ((), "production", {"deploy": "1", "environment": "production"}, "production"),
        (("--fresh",), "qa", {"deploy": "1", "environment": "test"}, 'was deployed to "test"'),
        (
            ("--mark-disposable", "{name}", "--confirm", "{name}"),
            "test",
            {"deploy": "1"},
            "was not deployed by",
        ),
        (("--drop-own-database",), "test", None, "was not deployed by"),
        (("--drop-database", "{name}_x"), "production", None, "production"),
    ],
)
def test_nothing_is_done_in_an_environment_that_the_image_was_not_deployed_to(
    target: Target, flags: tuple[str, ...], environment: str, deployed: dict[str, str] | None, said: str
) -> None:
    target.mark()
    suffix = "_x" if "--drop-own-database" in flags else ""
    variables = {"DATABASE_SUFFIX": suffix, "COPILOT_ENVIRONMENT_NAME": environment}
    with released(target.demo, deployed):
        done = target.manage(*COPY, *(flag.format(name=target.name) for flag in flags), **variables)
    assert said in only_error(done, 3)
    assert target.is_untouched()


def test_in_the_environment_that_the_image_was_deployed_to_the_mark_of_the_database_decides(
    target: Target,
) -> None:
    with released(target.demo, {"deploy": "1", "environment": "test"}):
        done = target.manage(*COPY, COPILOT_ENVIRONMENT_NAME="test")
        assert "no disposable mark" in only_error(done, 3)
        target.mark()
        done = target.manage(*COPY, COPILOT_ENVIRONMENT_NAME="test")
        assert done.returncode == 0, done.stderr
    listed = target.manage(*COPY, "--list-databases", COPILOT_ENVIRONMENT_NAME="production")
    assert listed.returncode == 0, listed.stderr


@contextlib.contextmanager
def released(demo: Project, deployed: dict[str, str] | None) -> Iterator[None]:
    """The project's image as a deploy has named it; without a name where None is said."""
    file = demo.home / "deployment.json"
    try:
        if deployed is not None:
            file.write_text(json.dumps(deployed))
        yield
    finally:
        file.unlink(missing_ok=True)


def test_somebody_elses_database_is_not_marked(target: Target) -> None:
    target.server.run(f"ALTER DATABASE {target.name} OWNER TO {OWNER}")
    done = target.manage(*COPY, "--mark-disposable", target.name, "--confirm", target.name)
    assert f"it belongs to {OWNER}" in only_error(done, 3)


def test_a_name_that_copies_need_must_be_free_when_the_target_is_marked(target: Target) -> None:
    target.server.run(f"CREATE DATABASE {target.name}_copying")
    done = target.manage(*COPY, "--mark-disposable", target.name, "--confirm", target.name)
    assert f'need the name "{target.name}_copying"' in only_error(done, 3)


def test_a_registry_of_marks_that_another_role_wrote_is_refused(target: Target) -> None:
    server = target.server
    server.create_role("careless", PASSWORD, "CREATEDB")
    with server.connect(role=OWNER, password=OWNER_PASSWORD) as connection:
        connection.execute("CREATE DATABASE stage_copy_marks_careless")
        forged = json.dumps({"disposable": [target.name]})
        connection.execute(f"COMMENT ON DATABASE stage_copy_marks_careless IS '{forged}'")
    server.run(f"ALTER DATABASE {target.name} OWNER TO careless")
    done = target.manage(*COPY, DATABASE_URL=server.url("careless", PASSWORD, target.name))
    assert f"belongs to {OWNER}" in only_error(done, 3)


def test_a_target_that_is_the_source_is_refused(target: Target) -> None:
    target.mark()
    done = target.manage(*COPY, STAGE_DATABASE_URL=target.server.url(READER, READER_PASSWORD, target.name))
    assert "the target is the source" in only_error(done, 3)
    assert target.is_untouched()


def test_a_target_that_another_role_owns_is_refused_although_reset_db_only_logs_it(target: Target) -> None:
    target.mark()
    target.server.run(f"ALTER DATABASE {target.name} OWNER TO {OWNER}")
    assert "must be owner of database" in target.manage(*RESET).stdout
    assert f"belongs to {OWNER}, and {TESTER} may not replace it" in only_error(target.manage(*COPY), 3)


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        ("GRANT INSERT ON shop_order TO {role}", "may write to public.shop_order"),
        ("GRANT UPDATE (name) ON shop_customer TO {role}", "may write to public.shop_customer"),
        ("GRANT DELETE ON shop_event TO {role}", "may write to public.shop_event"),
        ("GRANT TRUNCATE ON shop_event TO {role}", "may write to public.shop_event"),
        ("GRANT INSERT ON reports.kinds TO {role}", "may write to reports.kinds"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may create in schema public"),
        ("GRANT CREATE ON DATABASE staging TO {role}", "may create schemas in this database"),
        (
            "GRANT USAGE ON SEQUENCE shop_order_id_seq TO {role}",
            "may advance sequence public.shop_order_id_seq",
        ),
        ("GRANT stage_owner TO {role} WITH INHERIT FALSE", "owns this database"),
        ("GRANT pg_write_all_data TO {role}", "acts as pg_write_all_data"),
        ("ALTER TABLE reports.mine OWNER TO {role}", "owns objects of this database"),
        ("ALTER ROLE {role} CREATEROLE", "may grant itself rights"),
        ("ALTER ROLE {role} SUPERUSER", "is superuser"),
    ],
)
def test_every_way_to_write_to_the_source_is_found(
    server: PostgresServer, demo: Project, grant: str, reason: str
) -> None:
    assert demo
    role = f"reader{next(numbers)}"
    server.create_role(role, PASSWORD)
    server.run("CREATE TABLE reports.mine ()", grant.format(role=role), database=STAGE)
    try:
        with server.connect(STAGE, role, PASSWORD) as connection:
            reasons = guards.writable_reasons(connection)
        assert any(reason in found for found in reasons), reasons
    finally:
        server.run("DROP TABLE reports.mine", f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=STAGE)


def test_a_role_that_may_only_read_is_found_harmless(server: PostgresServer, demo: Project) -> None:
    assert demo
    with server.connect(STAGE, READER, READER_PASSWORD) as connection:
        assert guards.writable_reasons(connection) == []


def test_a_source_that_could_be_written_to_is_refused_unless_the_override_is_named(target: Target) -> None:
    target.mark()
    url = target.server.url(OWNER, OWNER_PASSWORD, STAGE)
    error = only_error(target.manage(*COPY, STAGE_DATABASE_URL=url), 3)
    assert f'the role "{OWNER}" of the source could change staging' in error
    assert "--allow-writable-source" in error
    assert target.is_untouched()
    done = target.manage(*COPY, "--allow-writable-source", STAGE_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "WARNING: --allow-writable-source" in done.stderr


def test_sessions_on_the_source_are_read_only_whatever_the_role_may_do(
    server: PostgresServer, demo: Project
) -> None:
    assert demo
    settings = {"NAME": STAGE, "USER": OWNER, "PASSWORD": OWNER_PASSWORD, "HOST": str(server.socket)}
    source = Database.from_django("stage", settings).read_only()
    with source.connect() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM shop_event")
    assert source.environment()["PGOPTIONS"] == "-c default_transaction_read_only=on"


def test_a_pg_dump_older_than_the_sources_server_is_refused(
    target: Target, client: Callable[[str], str]
) -> None:
    target.mark()
    path = client('echo "pg_dump (PostgreSQL) 17.4 (Debian 17.4-1)"\n').replace(f"{BIN}:/usr/bin:", "")
    (Path(path.partition(":")[0]) / "pg_restore").symlink_to(BIN / "pg_restore")
    error = only_error(target.manage(*COPY, PATH=path), 3)
    assert "it is version 17" in error
    assert "PostgreSQL 18" in error
    assert target.is_untouched()


def test_without_a_stage_database_the_variable_to_set_is_named(target: Target) -> None:
    error = only_error(target.manage(*COPY, STAGE_DATABASE_URL=""), 2)
    assert "set STAGE_DATABASE_URL" in error


@pytest.mark.parametrize("alias", ["default", "stage"])
def test_a_wrong_password_is_one_clear_line(target: Target, alias: str) -> None:
    target.mark()
    wrong = {
        "default": {"DATABASE_URL": target.server.url(TESTER, "wrong", target.name)},
        "stage": {"STAGE_DATABASE_URL": target.server.url(READER, "wrong", STAGE)},
    }[alias]
    error = only_error(target.manage(*COPY, **wrong), 4)
    assert f'DATABASES["{alias}"]' in error
    assert "password authentication failed" in error
    assert target.is_untouched()


def test_a_server_that_does_not_answer_is_one_clear_line(target: Target) -> None:
    target.mark()
    error = only_error(target.manage(*COPY, STAGE_DATABASE_URL="postgres://a:b@127.0.0.1:1/staging"), 4)
    assert "Connection refused" in error
