from __future__ import annotations

import itertools
import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from django_testenv.stage_copy import disposable_registry
from django_testenv.stage_copy.problems import Misconfigured, Refused
from tests.runtime.stage_copy.copies import PASSWORD, run_command
from tests.runtime.stage_copy.project import Project, project

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

STAGE, SMALL = "plan_stage", "plan_small"
COPY = ("copy_stage_db",)
MASK = {
    "shop_customer.name": "name",
    "shop_customer.email": "email",
    "auth_user.username": "keep",
    "auth_user.first_name": {"value": ""},
    "auth_user.last_name": {"value": "Doe"},
    "auth_user.email": "email",
    "auth_user.password": {"value": "!"},
}
SESSION, LOG = "a session lets its holder in", "what an administrator changed"
RULES = {"exclude_data": ["shop_event", "django_session", "django_admin_log"], "mask": MASK}
MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("shop", {after!r})]
    operations = []
"""
EVERY_DATABASE = """SELECT oid::int, datname::text, datallowconn, shobj_description(oid, 'pg_database')
    FROM pg_database ORDER BY 1"""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def demo(copies: Copies, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, whose setting a variable says, and a staging database that knows other migrations."""
    home = tmp_path_factory.mktemp("plan")
    source = copies.source_server
    copied = project(
        home / "app",
        DJANGO_SETTINGS_MODULE="staged",
        STATIC_ROOT=str(home / "static"),
        STAGE_DATABASE_URL=source.url("reader", PASSWORD, STAGE),
    )
    (copied.home / "staged.py").write_text(
        "import json, os\nfrom demo.settings import *\nSTAGE_COPY = json.loads(os.environ['RULES'])\n"
    )
    copies.make_source(STAGE)
    owner = {"DATABASE_URL": source.url("owner", PASSWORD, STAGE), "RULES": "{}"}
    for command in (("migrate", "--noinput"), ("fill_stage", "--megabytes", "1")):
        done = copied.manage(*command, **owner)
        assert done.returncode == 0, done.stderr
    ours = copied.home / "demo" / "shop" / "migrations"
    (ours / "0002_more.py").write_text(MIGRATION.format(after="0001_initial"))
    (ours / "0003_still_more.py").write_text(MIGRATION.format(after="0002_more"))
    with source.connect(STAGE, "owner", PASSWORD) as connection:
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.execute("GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader")
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES "
            "('shop', '0002_of_another_branch', now()), ('gone', '0001_initial', now())"
        )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CREATE TABLE nobody_counted (id int)")
        connection.execute("GRANT SELECT ON nobody_counted TO reader")
    source.run("CREATE EXTENSION pg_stat_statements", database=STAGE)
    return copied


@dataclass(frozen=True)
class Target:
    """A database of the tester's; its name, and how the project is run for it."""

    copies: Copies
    demo: Project
    name: str

    def manage(self, setting: object, *words: str, suffix: str = "") -> subprocess.CompletedProcess[str]:
        url = self.copies.target_server.url("tester", PASSWORD, self.name)
        variables = {"DATABASE_URL": url, "DATABASE_SUFFIX": suffix, "RULES": json.dumps(setting)}
        return self.demo.manage(*COPY, *words, **variables)

    def make(self) -> None:
        with self.copies.target_server.connect(role="tester", password=PASSWORD) as connection:
            connection.execute(f"CREATE DATABASE {self.name}".encode())
            disposable_registry.mark(connection, self.name)
        with self.copies.target_server.connect(self.name, "tester", PASSWORD) as connection:
            connection.execute("CREATE TABLE leftover AS SELECT 'of the last branch' AS what")

    def servers(self) -> list[Any]:
        """All that the two servers have, as far as a copy could change it."""
        copies = self.copies
        return [
            copies.rows(copies.target_server, "postgres", EVERY_DATABASE),
            copies.rows(copies.source_server, "postgres", EVERY_DATABASE),
        ]


@pytest.fixture
def target(copies: Copies, demo: Project) -> Target:
    return Target(copies, demo, f"plan{next(numbers)}x")


def test_the_plan_tells_a_program_what_would_become_of_every_table_and_changes_nothing(
    copies: Copies, target: Target
) -> None:
    target.make()
    before = target.servers()
    setting = {**RULES, "golden": {"max_age": "1h", "spare": True}}
    done = target.manage(setting, "--plan", "--json")
    assert done.returncode == 0, done.stderr
    assert target.servers() == before
    assert copies.rows(copies.target_server, target.name, "TABLE leftover") == [("of the last branch",)]
    document = json.loads(done.stdout)
    tables = {table.pop("table"): table for table in document.pop("tables")}
    facts = copies.rows(
        copies.source_server,
        STAGE,
        "SELECT 'public.' || relname, reltuples::int, pg_table_size(oid) FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    assert {name: (one["rows"], one["bytes"]) for name, one in tables.items()} == {
        name: (None if rows < 0 else rows, size) for name, rows, size in facts
    }
    assert tables["public.shop_event"]["rows"] > 1000
    assert tables["public.nobody_counted"]["rows"] is None
    left = {name for name, one in tables.items() if not one["copied"]}
    assert left == {"public.shop_event", "public.django_session", "public.django_admin_log"}
    assert {name: one["masked"] for name, one in tables.items() if one["masked"]} == {
        "public.shop_customer": {"name": "name", "email": "email"},
        "public.auth_user": {
            "username": "keep",
            "first_name": "value",
            "last_name": "value",
            "email": "email",
            "password": "value",
        },
    }
    [(database,)] = copies.rows(copies.source_server, STAGE, f"SELECT pg_database_size('{STAGE}')")
    assert 0 < document.pop("disk") < 3 * int(str(database)), "a golden copy, a spare and the target"
    assert document == {
        "unmasked": [],
        "personal": [],
        "after": [],
        "large_objects": "",
        "extensions_left": ["pg_stat_statements"],
        "to_run": ["shop.0002_more", "shop.0003_still_more"],
        "unknown_here": ["gone.0001_initial", "shop.0002_of_another_branch"],
        "marked": True,
        "would": f'Staging is copied into the golden copy, and "{target.name}" cloned from that.',
        "left": ['extension "pg_stat_statements"'],
        "obstacles": [],
    }


def test_the_plan_tells_a_person_what_would_become_of_every_table_and_marks_nothing(
    copies: Copies, target: Target
) -> None:
    before = target.servers()
    done = target.manage({"exclude_data": ["shop_event"], "mask": {"shop_customer.email": "email"}}, "--plan")
    assert done.returncode == 0, done.stderr
    assert target.servers() == before
    first, *lines = done.stdout.splitlines()
    assert first == f'"{STAGE}" would go to "{target.name}":'
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  ")}
    size = r"\d+ (kB|MB)"
    assert re.fullmatch(rf"~2,\d\d\d rows {size} rows stay behind", told["public.shop_event"])
    assert re.fullmatch(rf"~90 rows {size} copied; email \(email\)", told["public.shop_customer"])
    assert re.fullmatch(rf"~500 rows {size} copied", told["public.shop_product"])
    assert told["public.nobody_counted"] == "? rows 0 kB copied"
    summary, *rest = lines[len(told) :]
    counted = "SELECT sum(reltuples)::int FROM pg_class WHERE relkind = 'r' AND reltuples > 0 AND "
    counted += "relnamespace = 'public'::regnamespace AND relname <> 'shop_event'"
    [(rows,)] = copies.rows(copies.source_server, STAGE, counted)
    assert re.fullmatch(
        rf"{len(told) - 1} of {len(told)} tables, ~{rows:,} rows, {size} without indexes\.", summary
    )
    personal = [line for line in rest if line.startswith("Looks personal")]
    rest = rest[len(personal) :]
    reasons = {
        "shop_customer.name": "its name: a person's name",
        **dict.fromkeys(("django_session.session_key", "django_session.session_data"), SESSION),
        **dict.fromkeys(("django_admin_log.object_repr", "django_admin_log.change_message"), LOG),
        **{f"auth_user.{column.partition('.')[2]}": "Django's users" for column in MASK if "auth" in column},
    }
    assert sorted(personal) == sorted(
        f"Looks personal and has no rule: public.{column} ({why})." for column, why in reasons.items()
    )
    assert re.fullmatch(
        r"The target's server needs about \d+ MB of disk beside what it has now\.", rest.pop(1)
    )
    assert rest == [
        'Extension "pg_stat_statements" stays behind.',
        "Migrations to run on top: shop.0002_more, shop.0003_still_more.",
        (
            "Staging is ahead of this branch, which lacks: gone.0001_initial, shop.0002_of_another_branch. "
            "Merge what brought them, or expect errors from tables that this branch does not know."
        ),
        f'Staging is copied into "{target.name}".',
        f'"{target.name}" carries no disposable mark yet: refused (3).',
    ]


def test_a_personal_column_without_a_rule_is_refused_when_rules_are_required(
    copies: Copies, target: Target
) -> None:
    target.make()
    before = target.servers()
    mask = {column: rule for column, rule in MASK.items() if column != "shop_customer.email"}
    done = target.manage({**RULES, "mask": mask}, "--require-mask")
    assert done.returncode == Refused.exit_code
    assert done.stdout == ""
    assert done.stderr == (
        "CommandError: --require-mask: public.shop_customer.email (its name: an e-mail address) looks "
        'personal and has no rule: give each one in STAGE_COPY["mask"], or "keep" if its values may be '
        "copied\n"
    )
    assert target.servers() == before
    done = target.manage(RULES, "--require-mask")
    assert done.returncode == 0, done.stderr
    query = "SELECT count(*), count(*) FILTER (WHERE email ~ '@example.com$') FROM shop_customer"
    assert copies.rows(copies.target_server, target.name, query) == [(90, 0)]
    assert copies.rows(copies.target_server, target.name, "SELECT count(*) FROM shop_event") == [(0,)]


def test_a_wrong_setting_of_the_project_ends_the_command_with_one_line(target: Target) -> None:
    done = target.manage({"exclude": ["shop_event"]})
    assert done.returncode == Misconfigured.exit_code
    assert done.stdout == ""
    assert done.stderr == "CommandError: STAGE_COPY has no 'exclude': did you mean 'exclude_data'?\n"


@pytest.fixture(scope="module")
def small(copies: Copies) -> str:
    """A source, and a target that is marked and never made."""
    copies.make_source(
        SMALL,
        "CREATE TABLE person (id int PRIMARY KEY, code varchar(8))",
        "ALTER TABLE person ADD twice int GENERATED ALWAYS AS (id * 2) STORED",
        "CREATE TABLE item (owner int NOT NULL REFERENCES person)",
        "INSERT INTO person VALUES (1, 'one')",
        "INSERT INTO item VALUES (1)",
    )
    name = "plan_wrong"
    with copies.target_server.connect(role="tester", password=PASSWORD) as connection:
        disposable_registry.mark(connection, name)
    return name


def only_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command said that failed."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("CommandError: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ([], "STAGE_COPY is not a dictionary: write STAGE_COPY = {...}"),
        ({"nonsense": 1}, "STAGE_COPY has no 'nonsense': it has exclude_data, sample, "),
        (
            {"exclude_data": "one"},
            'STAGE_COPY["exclude_data"] is not a list of names: write ["one", "another"]',
        ),
        ({"exclude_data": 5}, 'STAGE_COPY["exclude_data"] is not a list of names'),
        ({"exclude_data": None}, 'STAGE_COPY["exclude_data"] is not a list of names'),
        ({"personal": [5]}, 'STAGE_COPY["personal"] is not a list of names'),
        ({"mask": ["a.b"]}, 'STAGE_COPY["mask"] is not a dictionary: write {"table.column": rule, ...}'),
        (
            {"mask": {"a.b": "e-mail"}},
            'STAGE_COPY["mask"]["a.b"] is not a rule: it may be "keep", "null", "email"',
        ),
        ({"mask": {"a.b": ["email"]}}, 'STAGE_COPY["mask"]["a.b"] is not a rule'),
        ({"mask": {"a.b": {"value": 1, "call": "a.b"}}}, 'STAGE_COPY["mask"]["a.b"] is not a rule'),
        ({"mask": {"a.b": {"call": "nowhere.at_all"}}}, "'nowhere.at_all' cannot be imported: No module"),
        ({"mask": {"a.b": {"call": "os.nothing"}}}, "'os.nothing' cannot be imported"),
        ({"mask": {"a.b": {"call": "nothing"}}}, "'nothing' cannot be imported"),
        ({"mask": {"a.b": {"call": ".rules.nothing"}}}, "'.rules.nothing' cannot be imported"),
        ({"mask": {"a.b": {"call": "os.path"}}}, "'os.path' is not a function"),
        (
            {"golden": True},
            'STAGE_COPY["golden"] is not a dictionary: write {"max_age": "24h", "spare": True}',
        ),
        ({"golden": {"maxage": "1h"}}, "STAGE_COPY[\"golden\"] has no 'maxage': did you mean 'max_age'?"),
        ({"golden": {"max_age": "soon"}}, 'is \'soon\': write a number and a unit, "90m", "24h" or "7d"'),
        ({"golden": {"max_age": 24}}, "is '24': write a number and a unit"),
        ({"golden": {"spare": "yes"}}, "\"spare\" is 'yes': it must be True or False"),
        ({"jobs": 0}, 'STAGE_COPY["jobs"] is 0: it must be a whole number, 1 or more'),
        ({"memory": "256MB"}, "STAGE_COPY[\"memory\"] is '256MB': it must be a whole number, 1 or more"),
        ({"jobs": True}, 'STAGE_COPY["jobs"] is True: it must be a whole number'),
        ({"unlogged": True}, 'STAGE_COPY["unlogged"] is not an option any more: take it out'),
        ({"unloged": True}, "STAGE_COPY has no 'unloged': it has exclude_data, sample, "),
        ({"memry": 1}, "STAGE_COPY has no 'memry': did you mean 'memory'?"),
        ({"verify": 1}, '"verify" is 1: it must be True or False'),
        (
            {"release_file": "nothing.json"},
            'STAGE_COPY["release_file"]: there is no file /nonexistent/nothing',
        ),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, str) else "",
)
def test_a_wrong_setting_ends_the_command_with_one_line_and_changes_nothing(
    copies: Copies, small: str, setting: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copies.rows(copies.target_server, "postgres", EVERY_DATABASE)
    assert run_command(copies, SMALL, small, setting) == Misconfigured.exit_code
    assert why in only_error(capsys)
    assert copies.rows(copies.target_server, "postgres", EVERY_DATABASE) == before


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"exclude_data": ["persom"]}, "there is no table 'persom' in staging: did you mean 'person'?"),
        ({"exclude_data": ["person"]}, "public.item (owner) refers to them: exclude public.item as well"),
        ({"mask": {"persom.id": "keep"}}, "there is no table 'persom' in staging: did you mean 'person'?"),
        ({"mask": {"person.cod": "keep"}}, "person has no column 'cod': did you mean 'code'?"),
        ({"mask": {"person.id": "null"}}, "public.person.id may not be null"),
        ({"mask": {"person.code": "email"}}, 'is character varying(8): too short for a "email"'),
        (
            {"mask": {"person.twice": "null"}},
            "public.person.twice is generated from other columns: mask those",
        ),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, str) else "",
)
def test_a_setting_that_does_not_fit_staging_ends_the_plan_and_the_copy_with_one_line_and_changes_nothing(
    copies: Copies, small: str, setting: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copies.rows(copies.target_server, "postgres", EVERY_DATABASE)
    for words in ([], ["--plan"]):
        assert run_command(copies, SMALL, small, setting, *words) == Misconfigured.exit_code
        assert why in only_error(capsys)
    assert copies.rows(copies.target_server, "postgres", EVERY_DATABASE) == before


def test_the_plan_of_a_branch_says_whether_a_copy_would_be_let_in_and_marks_nothing(
    copies: Copies, target: Target
) -> None:
    refusal = f'"{target.name}_a" carries no disposable mark yet: refused (3).\n'
    assert target.manage({}, "--plan", suffix="_a").stdout.endswith(refusal)
    target.make()
    before = target.servers()
    done = target.manage({}, "--plan", suffix="_a")
    assert done.stdout.startswith(f'"{STAGE}" would go to "{target.name}_a":\n')
    assert done.stdout.endswith(f'Staging is copied into "{target.name}_a".\n')
    assert json.loads(target.manage({}, "--plan", "--json", suffix="_a").stdout)["marked"] is True
    assert target.servers() == before
    copies.target_server.run(f"CREATE DATABASE {target.name}_a")
    assert target.manage({}, "--plan", suffix="_a").stdout.endswith(refusal)
    assert json.loads(target.manage({}, "--plan", "--json", suffix="_a").stdout)["marked"] is False


def test_the_plan_shows_how_many_rows_a_sample_takes_of_each_table(target: Target) -> None:
    target.make()
    setting = {"sample": {"shop_customer": 7, "shop_event": "1%"}}
    before = target.servers()
    document = json.loads(target.manage(setting, "--plan", "--json").stdout)
    assert target.servers() == before
    tables = {one["table"]: one for one in document["tables"]}
    assert tables["public.shop_customer"]["sample"]["rows"] == 7
    assert tables["public.shop_product"]["sample"] is None
    event, part = tables["public.shop_event"], tables["public.shop_event"]["sample"]
    assert 0 < part["rows"] < event["rows"]
    assert 0 < part["bytes"] < event["bytes"]
    text = target.manage(setting, "--plan").stdout
    assert re.search(r"public\.shop_customer +~[\d,]+ rows +\d+ kB +7 rows copied, about \d+ kB\n", text)
    unmarked = Target(target.copies, target.demo, f"{target.name}_unmade")
    assert "What the sample takes is not known" in unmarked.manage(setting, "--plan").stdout
