"""What databases and roles set for their sessions changes nothing about a copy or its verification."""

from __future__ import annotations

from tests.runtime.stage_copy.copies import Attempt, Copies
from tests.runtime.stage_copy.transfers import make_target

SOURCE = "session_settings"
SETTINGS = {
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "-3",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "search_path": "elsewhere",
}
OF_TARGET = {"default_transaction_read_only": "on", "array_nulls": "off", "timezone": "America/St_Johns"}


def test_sessions_that_differ_on_both_sides_copy_and_verify_the_same_values(copies: Copies) -> None:
    copies.make_source(
        SOURCE,
        "CREATE TYPE mood AS ENUM ('ok')",
        """CREATE TABLE kinds (at timestamptz, plain timestamp, day date, gap interval, raw bytea, f float8,
           g real[], price money, named regclass, of_type regtype, words text[], mood mood, pair json,
           during tstzrange)""",
        r"""INSERT INTO kinds SELECT now() - n * '1 hour'::interval, now(), '2024-03-04',
           '1 mon 2 days 3:04', '\x00ff5c'::bytea || n::text::bytea, random(), ARRAY[1.1, NULL], 1234.5,
           'kinds', 'mood', ARRAY['NULL', NULL], 'ok', '{"a": 1}', tstzrange(now(), NULL)
           FROM generate_series(1, 50) n""",
    )
    source = [f"ALTER DATABASE {SOURCE} SET {name} = '{value}'" for name, value in SETTINGS.items()]
    copies.source_server.run(*source)
    copies.target_server.run(*(f"ALTER ROLE tester SET {name} = '{it}'" for name, it in OF_TARGET.items()))
    target = make_target_despite(copies)
    try:
        assert Attempt(copies, SOURCE, target, {"verify": True}).run().rows == 50
        query = "SELECT count(*) FROM kinds WHERE words = ARRAY['NULL', NULL]"
        assert copies.rows(copies.target_server, target, query) == [(50,)]
    finally:
        copies.target_server.run("ALTER ROLE tester RESET ALL")


def make_target_despite(copies: Copies) -> str:
    """Make the target while its role is not read-only yet."""
    copies.target_server.run("ALTER ROLE tester RESET default_transaction_read_only")
    target = make_target(copies)
    copies.target_server.run("ALTER ROLE tester SET default_transaction_read_only = on")
    return target
