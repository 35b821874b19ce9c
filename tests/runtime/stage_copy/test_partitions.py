"""Partitions and their keys however they came about, and what the source itself calls invalid."""

from __future__ import annotations

import re

import pytest

from tests.runtime.stage_copy.copies import PASSWORD, Copies

SOURCE, NIGHTLY = "partitions", pytest.mark.nightly
CONSTRAINTS = """
SELECT conrelid::regclass::text, contype::text, convalidated, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid <> 0 AND contype <> 'n' ORDER BY 1, 2, 3, 4
"""
INDEXES = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid > 16000 ORDER BY 1"
ATTACHED = """
SELECT conparentid <> 0 FROM pg_constraint WHERE conname = 'of_its_own'
"""


@pytest.fixture(scope="module", autouse=True)
def source(copies: Copies) -> None:
    copies.make_source(
        SOURCE,
        "CREATE TABLE account (id int PRIMARY KEY)",
        "INSERT INTO account SELECT generate_series(1, 100)",
        "CREATE TABLE entry (id int PRIMARY KEY, account_id int REFERENCES account) PARTITION BY RANGE (id)",
        "CREATE TABLE entry_1 PARTITION OF entry FOR VALUES FROM (0) TO (500)",
        # A table that became a partition, with a key that hangs below its parent's since then.
        """CREATE TABLE entry_2 (id int PRIMARY KEY, account_id int,
           CONSTRAINT of_its_own FOREIGN KEY (account_id) REFERENCES account)""",
        "ALTER TABLE entry ATTACH PARTITION entry_2 FOR VALUES FROM (500) TO (1000)",
        "CREATE TABLE entry_3 (account_id int, id int NOT NULL)",
        "ALTER TABLE entry ATTACH PARTITION entry_3 DEFAULT",
        "INSERT INTO entry SELECT n, 1 + n % 100 FROM generate_series(1, 1500) n",
        # Keys that refer to a partitioned table: the server adds one for each partition.
        "CREATE TABLE note (id int PRIMARY KEY, entry_id int REFERENCES entry, other int REFERENCES entry)",
        "INSERT INTO note SELECT n, n, 1501 - n FROM generate_series(1, 300) n",
        "CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree) PARTITION BY HASH (id)",
        "CREATE TABLE tree_0 PARTITION OF tree FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE tree_1 PARTITION OF tree FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO tree SELECT n, CASE WHEN n > 1 THEN n - 1 END FROM generate_series(1, 200) n",
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER of_all AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION nothing()",
        "CREATE TRIGGER of_one AFTER INSERT ON entry_1 FOR EACH ROW EXECUTE FUNCTION nothing()",
        # What an interrupted CREATE INDEX CONCURRENTLY leaves, and an index that not all partitions have.
        "CREATE INDEX broken ON note (other)",
        "CREATE UNIQUE INDEX broken_too ON account (id)",
        "CREATE INDEX not_of_all ON ONLY entry (account_id)",
        "CREATE INDEX of_one_only ON entry_1 (account_id)",
        "ALTER INDEX not_of_all ATTACH PARTITION of_one_only",
        "ALTER TABLE note ADD CONSTRAINT unchecked CHECK (id < 10) NOT VALID",
        "ALTER TABLE note ADD CONSTRAINT unchecked_key FOREIGN KEY (other) REFERENCES account NOT VALID",
    )
    copies.source_server.run(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken_too'::regclass",
        database=SOURCE,
    )


@pytest.mark.parametrize("jobs", [2, pytest.param(1, marks=pytest.mark.nightly)])
def test_partitions_arrive_with_their_keys_and_what_is_invalid_at_the_source_is_not_asked_for(
    copies: Copies, jobs: int
) -> None:
    copies.fill(SOURCE, "partitioned", {"verify": True, "jobs": jobs})
    assert copies.rows(copies.source_server, SOURCE, ATTACHED) == [(True,)]
    sent, arrived = (
        copies.rows(server, name, CONSTRAINTS)
        for server, name in ((copies.source_server, SOURCE), (copies.target_server, "partitioned"))
    )
    assert arrived == sent
    indexes = dict(copies.rows(copies.target_server, "partitioned", INDEXES))
    expected = dict(copies.rows(copies.source_server, SOURCE, INDEXES))
    broken = {"broken": False, "broken_too": False}
    assert {**indexes, **broken} == expected
    assert not broken.keys() & indexes.keys()
    with copies.target_server.connect("partitioned", "tester", PASSWORD) as connection:
        assert connection.execute("SELECT count(*) FROM tree").fetchone() == (200,)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mood", "mood"),
        pytest.param("mood[]", "ARRAY[mood]", marks=NIGHTLY),
        pytest.param("of_mood", "mood", marks=NIGHTLY),
        pytest.param("regclass", "format('t%s', position(left(mood::text, 1) in 'sofec'))", marks=NIGHTLY),
    ],
)
def test_rows_find_their_partition_where_the_hash_of_a_key_is_another_one(
    copies: Copies, key: str, value: str
) -> None:
    """An enum's hash is that of its number, which each database chooses."""
    source = f"hashed_{re.sub('[^a-z]', 'x', key)}"
    copies.make_source(
        source,
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'fine', 'odd', 'even', 'calm', 'cold', 'warm')",
        "CREATE DOMAIN of_mood AS mood",
        *(f"CREATE TABLE t{n} ()" for n in range(8)),
        f"CREATE TABLE part (kind int, mood {key}, id int) PARTITION BY LIST (kind)",
        "ALTER TABLE part ADD PRIMARY KEY (kind, mood, id)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1) PARTITION BY HASH (mood)",
        *(
            f"CREATE TABLE part_1{n} PARTITION OF part_1 FOR VALUES WITH (MODULUS 3, REMAINDER {n})"
            for n in range(3)
        ),
        "CREATE TABLE part_2 PARTITION OF part DEFAULT",
        f"""INSERT INTO part SELECT DISTINCT n % 2, ({value})::{key}, n
            FROM unnest(enum_range(NULL::mood)) mood, generate_series(1, 50) n""",
        f"CREATE TABLE note (kind int, mood {key}, id int)",
        "INSERT INTO note SELECT * FROM part WHERE id < 9",
        *["ALTER TABLE note ADD FOREIGN KEY (kind, mood, id) REFERENCES part"] * (key == "mood"),
    )
    copies.fill(source, "hashed", {"verify": True, "mask": {"part.id": "keep"}})
    assert copies.schema(copies.target_server, "hashed") == copies.schema(copies.source_server, source)
    for table in ("part", "part_1", "part_2", "note"):
        query = f"SELECT md5(string_agg(r::text, ' ' ORDER BY r::text)) FROM {table} r"
        sent = copies.rows(copies.source_server, source, query)
        assert copies.rows(copies.target_server, "hashed", query) == sent
