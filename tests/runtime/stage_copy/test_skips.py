"""Objects that the target cannot have are named before rows are moved, and stay behind if they are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from django_testenv.stage_copy import engine
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Failed, Misconfigured
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, Told
from tests.runtime.stage_copy.transfers import make_target, require_untouched

SOURCE, ORPHANS, VIEWS, TIMES = "skips", "skips_orphans", "skips_views", "skips_times"
IMPOSSIBLE = (
    'policy public.account of_tenant: role "tenant"',
    "foreign data wrapper wrapper: permission denied",
    "operator family public.family: must be superuser",
)
SKIP = (
    "policy account of_tenant",
    "FOREIGN DATA WRAPPER wrapper",
    "server elsewhere",
    "foreign table public.far",
    "operator family public.family",
)


@pytest.fixture(scope="module", autouse=True)
def sources(copies: Copies) -> None:
    server = copies.source_server
    copies.make_source(
        SOURCE,
        "CREATE TABLE account (id serial PRIMARY KEY, tenant text)",
        "INSERT INTO account (tenant) SELECT 'x' FROM generate_series(1, 50)",
        "CREATE TABLE letter (id serial PRIMARY KEY, account int REFERENCES account)",
        "INSERT INTO letter (account) SELECT n FROM generate_series(1, 50) n",
        "CREATE INDEX ON letter (account)",
        "CREATE VIEW letters AS SELECT * FROM letter",
        "COMMENT ON VIEW letters IS 'all of them'",
        "CREATE TABLE closed (id serial PRIMARY KEY)",
        "CREATE TABLE refers_to_closed (closed int REFERENCES closed)",
        "ALTER TABLE account ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE account FORCE ROW LEVEL SECURITY",
    )
    server.run(
        "CREATE ROLE tenant",
        "CREATE POLICY of_tenant ON account TO tenant USING (true)",
        "CREATE FOREIGN DATA WRAPPER wrapper",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper",
        "CREATE FOREIGN TABLE far (id int) SERVER elsewhere",
        "CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (password 'hidden')",
        "CREATE OPERATOR FAMILY family USING btree",
        "CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION audit()",
        "COMMENT ON EVENT TRIGGER audit IS 'watches'",
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "REVOKE ALL ON closed, closed_id_seq FROM reader",
        "ALTER ROLE reader BYPASSRLS",
        database=SOURCE,
    )


def fails(copies: Copies, source: str, setting: Mapping[str, object], kind: type[Exception]) -> str:
    with pytest.raises(kind) as raised:
        copies.fill(source, "skipped", setting)
    return str(raised.value)


def test_all_that_the_target_cannot_have_is_named_at_once_before_rows_are_moved(copies: Copies) -> None:
    with copies.source_server.connect(SOURCE) as connection:
        connection.execute("GRANT SELECT ON closed, closed_id_seq TO reader")
    target = make_target(copies)
    attempt = Attempt(copies, SOURCE, target)
    with pytest.raises(Failed) as raised:
        attempt.run()
    said = str(raised.value)
    assert "rows" not in attempt.told.phases
    assert said.startswith("the schema could not be restored: ")
    assert all(part in said for part in IMPOSSIBLE[1:])
    assert "foreign data wrapper wrapper" in said.partition('STAGE_COPY["skip"] = [')[2]
    require_untouched(copies, target)
    said = fails(copies, SOURCE, {"skip": SKIP[1:]}, Failed)
    assert IMPOSSIBLE[0] in said
    assert said.endswith('or leave it behind: STAGE_COPY["skip"] = ["policy public.account of_tenant"]')
    copies.source_server.run("REVOKE ALL ON closed, closed_id_seq FROM reader", database=SOURCE)


def test_what_skip_names_stays_behind_with_its_parts_and_is_in_the_receipt(copies: Copies) -> None:
    target = make_target(copies)
    setting = {"skip": [*SKIP, "table public.closed", "view letters", "table letter"], "verify": True}
    receipt = Attempt(copies, SOURCE, target, setting).run()
    assert sorted(receipt.left) == sorted(
        [
            "event trigger audit",
            "fk constraint public.refers_to_closed refers_to_closed_closed_fkey",
            "foreign data wrapper wrapper",
            "foreign table public.far",
            "operator family public.family",
            "policy public.account of_tenant",
            "publication everything",
            "server elsewhere",
            "table public.closed",
            "table public.letter",
            "user mapping public SERVER elsewhere",
            "view public.letters",
        ]
    )
    query = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    names = [name for (name,) in copies.rows(copies.target_server, target, query)]
    assert names == ["account", "account_id_seq", "account_pkey", "refers_to_closed"]
    with copies.target_server.connect(target, "tester", PASSWORD) as connection:
        assert connection.execute("SELECT nextval('account_id_seq')").fetchone() == (51,)


@pytest.mark.parametrize(
    ("skip", "said"),
    [
        (["view lettres"], "there is no 'view lettres' in staging: did you mean 'view public.letters'?"),
        (["letter"], "there is no 'letter' in staging"),
        (["table letter"], 'names what other objects need: name these as well: "view public.letters"'),
        (["server elsewhere"], '"foreign table public.far"'),
        (
            ["foreign data wrapper wrapper"],
            'name these as well: "server elsewhere", "foreign table public.far"',
        ),
    ],
)
def test_a_skip_that_means_nothing_or_too_much_is_refused(
    copies: Copies, skip: Sequence[str], said: str
) -> None:
    setting = {"skip": [*skip, "table public.closed"]}
    assert said in fails(copies, SOURCE, setting, Misconfigured)


def test_rows_that_break_a_key_end_the_copy_unless_the_key_may_be_not_valid(copies: Copies) -> None:
    copies.make_source(
        ORPHANS,
        "CREATE TABLE account (id int PRIMARY KEY)",
        "CREATE TABLE letter (account int REFERENCES account)",
        "CREATE TABLE note (account int REFERENCES account)",
        "CREATE TABLE memo (account int REFERENCES account)",
        "CREATE TABLE part (account int REFERENCES account) PARTITION BY LIST (account)",
        "CREATE TABLE part_1 PARTITION OF part DEFAULT",
        "INSERT INTO account VALUES (1), (2)",
        "INSERT INTO letter VALUES (1), (2)",
        "INSERT INTO note VALUES (1)",
        "INSERT INTO memo VALUES (1)",
        "INSERT INTO part VALUES (1), (2)",
    )
    copies.source_server.run(
        "SET session_replication_role = replica; DELETE FROM account WHERE id = 2", database=ORPHANS
    )
    assert fails(copies, ORPHANS, {}, Failed) == (
        'rows of public.letter break its foreign key "letter_account_fkey", which staging calls valid: mend '
        'these rows, or set STAGE_COPY["orphans"] = "not valid"'
    )
    moved = copies.fill(ORPHANS, "skipped", {"orphans": "not valid", "verify": True})
    assert moved.left == [
        'foreign key "letter_account_fkey" of public.letter is NOT VALID in the copy: rows break it',
        'foreign key "part_account_fkey" of public.part is NOT VALID in the copy: rows break it',
    ]
    query = "SELECT conrelid::regclass::text, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    found = copies.rows(copies.target_server, "skipped", query)
    broken, held = ("letter", "part", "part_1"), ("memo", "note")
    assert found == sorted([*((name, False) for name in broken), *((name, True) for name in held)])


def test_a_temporal_key_whose_time_rows_do_not_cover_is_not_called_valid(copies: Copies) -> None:
    copies.make_source(
        TIMES,
        "CREATE TABLE room (id int4range, days int4range, PRIMARY KEY (id, days WITHOUT OVERLAPS))",
        "CREATE TABLE stay (room int4range, days int4range, "
        "FOREIGN KEY (room, PERIOD days) REFERENCES room (id, PERIOD days))",
        "INSERT INTO room VALUES ('[1,2)', '[0,10)'), ('[1,2)', '[10,20)')",
        "INSERT INTO stay VALUES ('[1,2)', '[5,15)')",
    )
    assert copies.fill(TIMES, "skipped", {"verify": True}).left == []
    query = "SELECT convalidated FROM pg_constraint WHERE contype = 'f'"
    assert copies.rows(copies.target_server, "skipped", query) == [(True,)]
    copies.source_server.run(
        "SET session_replication_role = replica; DELETE FROM room WHERE days = '[10,20)'", database=TIMES
    )
    assert fails(copies, TIMES, {}, Failed).startswith(
        'rows of public.stay break its foreign key "stay_room_'
    )
    copies.fill(TIMES, "skipped", {"orphans": "not valid", "verify": True})
    assert copies.rows(copies.target_server, "skipped", query) == [(False,)]


def test_what_needs_an_extension_that_stays_behind_is_told_with_that_extension(copies: Copies) -> None:
    copies.make_source(VIEWS)
    copies.source_server.run(
        "CREATE EXTENSION pg_stat_statements",
        "CREATE VIEW slow AS SELECT queryid FROM pg_stat_statements",
        "GRANT SELECT ON slow TO reader",
        database=VIEWS,
    )
    said = fails(copies, VIEWS, {}, Failed)
    assert said.startswith('the schema could not be restored: view public.slow: relation "public.pg_stat_')
    assert "perhaps because extension pg_stat_statements stays behind, which the target's server does" in said
    assert copies.fill(VIEWS, "skipped", {"skip": ["view slow"]}).left == [
        'extension "pg_stat_statements"',
        "view public.slow",
    ]


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        ("function touch()", ["function public.touch()", "trigger public.account touched"]),
        (
            "constraint account account_pkey",
            ["constraint public.account account_pkey", "fk constraint public.letter letter_account_fkey"],
        ),
        pytest.param(
            "trigger account touched", ["trigger public.account touched"], marks=pytest.mark.nightly
        ),
        pytest.param("index by_words", ["index public.by_words"], marks=pytest.mark.nightly),
        pytest.param(
            "comment on table account", ["comment on table public.account"], marks=pytest.mark.nightly
        ),
        pytest.param(
            "materialized view counted", ["materialized view public.counted"], marks=pytest.mark.nightly
        ),
        pytest.param(
            "fk constraint letter letter_account_fkey",
            ["fk constraint public.letter letter_account_fkey"],
            marks=pytest.mark.nightly,
        ),
        pytest.param("extension citext", ["extension citext"], marks=pytest.mark.nightly),
        pytest.param("schema empty", ["schema empty"], marks=pytest.mark.nightly),
    ],
)
def test_what_only_needs_a_skipped_object_is_listed_as_well(
    copies: Copies, skip: str, left: list[str]
) -> None:
    source = "skips_kinds"
    if not copies.has_source(source):
        copies.make_source(
            source,
            "CREATE EXTENSION citext",
            "CREATE SCHEMA empty",
            "CREATE TABLE account (id int PRIMARY KEY, words text)",
            "COMMENT ON TABLE account IS 'all'",
            "CREATE INDEX by_words ON account (words)",
            "COMMENT ON INDEX by_words IS 'one'",
            "CREATE TABLE letter (account int REFERENCES account)",
            "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM account",
            "CREATE UNIQUE INDEX ON counted (count)",
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER touched BEFORE INSERT ON account FOR EACH ROW EXECUTE FUNCTION touch()",
        )
    assert sorted(copies.fill(source, "skipped", {"skip": [skip]}).left) == sorted(left)


@pytest.mark.parametrize(
    ("change", "skip"),
    [
        ("DROP SCHEMA public; CREATE SCHEMA public", []),  # which many do to empty a database
        pytest.param("COMMENT ON SCHEMA public IS 'ours'", [], marks=pytest.mark.nightly),
        pytest.param(
            "COMMENT ON SCHEMA public IS NULL", ["comment on schema public"], marks=pytest.mark.nightly
        ),
    ],
)
def test_a_comment_on_the_schema_public_stays_behind_if_the_target_role_does_not_own_it(
    copies: Copies, change: str, skip: list[str]
) -> None:
    """Before version 15 a superuser owns it in each new database."""
    source = f"skips_public_{len(change)}"
    copies.make_source(source)
    copies.source_server.run(
        *change.split("; "), "CREATE TABLE public.person AS SELECT 1 AS id", database=source
    )
    copies.source_server.run("GRANT USAGE ON SCHEMA public TO reader", database=source)
    copies.source_server.run("GRANT SELECT ON public.person TO reader", database=source)
    copies.target_server.run("DROP DATABASE IF EXISTS skipped", "CREATE DATABASE skipped OWNER tester")
    copies.target_server.run(
        "ALTER SCHEMA public OWNER TO rdsadmin", "GRANT ALL ON SCHEMA public TO PUBLIC", database="skipped"
    )
    ends = copies.database(source, reader=True).read_only(), copies.database("skipped", reader=False)
    moved = engine.fill(*ends, Options.read({"skip": skip}, key="made-up"), Told())
    assert moved.rows == {"public.person": 1}
    assert moved.left == ["comment on schema public"]
