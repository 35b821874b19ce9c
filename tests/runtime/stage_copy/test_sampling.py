"""A sample is some rows of named tables, all that belong to them, and all that these refer to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from django_testenv.stage_copy.problems import Failed, Misconfigured

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

SHOP = "sampled_shop"
numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def shop(copies: Copies) -> None:
    """Customers with orders and their lines, and tables that are linked in all ways that keys allow."""
    copies.make_source(
        SHOP,
        "CREATE EXTENSION citext",
        "CREATE TABLE country (code citext PRIMARY KEY)",
        "INSERT INTO country VALUES ('DE'), ('FR')",
        "CREATE TABLE customer (id int PRIMARY KEY, invited_by int REFERENCES customer, best int, "
        "country citext)",
        "CREATE TABLE purchase (id bigint, at int, customer_id int REFERENCES customer, "
        "PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE purchase_0 PARTITION OF purchase FOR VALUES FROM (0) TO (5)",
        "CREATE TABLE purchase_5 PARTITION OF purchase FOR VALUES FROM (5) TO (10) PARTITION BY HASH (id)",
        "CREATE TABLE purchase_5_0 PARTITION OF purchase_5 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE purchase_5_1 PARTITION OF purchase_5 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE product (id smallint PRIMARY KEY, name text)",
        # No primary key, a key of two columns to a partitioned table, and one of another type.
        "CREATE TABLE line (purchase_id bigint, purchase_at int, product_id int REFERENCES product, "
        "FOREIGN KEY (purchase_id, purchase_at) REFERENCES purchase)",
        "CREATE TABLE log (id int PRIMARY KEY, what text)",
        "INSERT INTO customer SELECT n, nullif(n / 2, 0), NULL, (ARRAY['de', 'FR', NULL])[1 + n % 3] "
        "FROM generate_series(1, 1000) n",
        "INSERT INTO purchase SELECT n, n % 10, nullif(1 + n % 1100, 1100) FROM generate_series(1, 4000) n "
        "WHERE 1 + n % 1100 <= 1000 OR 1 + n % 1100 = 1100",
        "INSERT INTO product SELECT n, 'p' || n FROM generate_series(1, 50) n",
        "INSERT INTO line SELECT id, CASE WHEN id % 7 > 0 THEN at END, 1 + id % 50 FROM purchase, "
        "generate_series(1, 2)",
        "INSERT INTO log SELECT n, 'x' FROM generate_series(1, 500) n",
        "UPDATE customer SET best = p.id FROM purchase p WHERE p.customer_id = customer.id",
        "ALTER TABLE customer ADD best_at int",
        "UPDATE customer SET best_at = best % 10 WHERE best IS NOT NULL",
        # A circle: a customer names an order, which names the customer.
        "ALTER TABLE customer ADD FOREIGN KEY (best, best_at) REFERENCES purchase DEFERRABLE",
        "ALTER TABLE customer ADD FOREIGN KEY (country) REFERENCES country",
    )


def sampled(copies: Copies, sample: Mapping[str, object], **setting: object) -> str:
    """Copy a sample of the shop; the target's name."""
    target = f"sampled{next(numbers)}x"
    copies.fill(SHOP, target, {"sample": sample, "verify": True, **setting})
    return target


def count(copies: Copies, target: str, query: str) -> Any:
    return copies.rows(copies.target_server, target, f"SELECT count(*) FROM {query}")[0][0]


def ids(copies: Copies, target: str, table: str, column: str = "id") -> set[Any]:
    server = copies.source_server if target == SHOP else copies.target_server
    return {row[0] for row in copies.rows(server, target, f"SELECT {column} FROM {table}")}


def test_a_sample_is_whole_by_its_keys_and_other_tables_come_whole(copies: Copies) -> None:
    target = sampled(copies, {"customer": "2%"})
    query = "SELECT count(*), count(*) FILTER (WHERE convalidated) FROM pg_constraint WHERE contype = 'f'"
    made = copies.rows(copies.target_server, target, query)
    assert made == copies.rows(copies.source_server, SHOP, query)
    assert len({n for n, _ in made} | {v for _, v in made}) == 1
    assert 20 <= count(copies, target, "customer") < 200
    assert count(copies, target, "product") == 50
    assert count(copies, target, "log") == 500
    query = "SELECT id FROM customer ORDER BY hashtext(ctid::text) LIMIT 20"
    chosen = [row[0] for row in copies.rows(copies.source_server, SHOP, query)]
    assert set(chosen) <= ids(copies, target, "customer")
    theirs = f"purchase WHERE customer_id = ANY ('{set(chosen)}')"
    assert ids(copies, target, theirs) == ids(copies, SHOP, theirs) != set()
    # Nothing belongs to a row that is only referred to.
    whole = f"{theirs} AND id % 7 > 0"
    assert count(copies, target, "line") == 2 * count(copies, target, whole)
    assert count(copies, target, "purchase") < 800
    assert count(copies, target, "purchase WHERE customer_id IS NULL") == 0


def test_a_number_of_rows_is_that_number_and_a_table_may_be_cut_further(copies: Copies) -> None:
    target = sampled(copies, {"product": 5, "line": "10%", "log": 7})
    assert count(copies, target, "log") == 7
    assert count(copies, target, "product") == 5
    every = len(copies.rows(copies.source_server, SHOP, "SELECT FROM line"))
    assert count(copies, target, "line") == pytest.approx(every / 100, rel=0.1)
    assert count(copies, target, "customer") == 1000, "it does not refer to what is named"
    target = sampled(copies, {"customer": 0})
    assert [count(copies, target, table) for table in ("customer", "purchase", "line")] == [0, 0, 0]


def test_masks_skips_and_exclusions_hold_for_a_sample(copies: Copies) -> None:
    mask = {"customer.best": "null", "customer.invited_by": {"value": 1}, "product.name": "name"}
    target = sampled(copies, {"customer": "1%"}, mask=mask, exclude_data=["log"])
    assert count(copies, target, "log") == 0
    assert count(copies, target, "customer WHERE best IS NOT NULL OR invited_by IS DISTINCT FROM 1") == 0
    assert count(copies, target, "customer WHERE id = 1") == 1
    assert count(copies, target, "product WHERE name ~ '^p[0-9]'") == 0
    # Without the key between them, orders do not belong to customers.
    skip = {"skip": ["fk constraint purchase purchase_customer_id_fkey"]}
    target = sampled(copies, {"customer": "1%"}, **skip)
    assert count(copies, target, "purchase") > 3000


def test_rows_that_break_a_key_end_a_sample_too_unless_orphans_may_stay(copies: Copies) -> None:
    copies.make_source(
        "sampled_orphans",
        "CREATE TABLE a (id int PRIMARY KEY)",
        "CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a)",
        "INSERT INTO a SELECT generate_series(1, 10)",
        "INSERT INTO b SELECT n, n FROM generate_series(1, 10) n",
    )
    copies.source_server.run(
        "SET session_replication_role = replica; DELETE FROM a WHERE id > 5", database="sampled_orphans"
    )
    with pytest.raises(Failed, match=r'rows of public\.b break its foreign key "b_a_id_fkey"'):
        copies.fill("sampled_orphans", "sampled_orphans", {"sample": {"b": "100%"}})
    copies.fill("sampled_orphans", "sampled_orphans", {"sample": {"b": "100%"}, "orphans": "not valid"})
    assert count(copies, "sampled_orphans", "b") == 10


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"custmer": 1}, "staging has no table 'custmer' whose rows are copied: did you mean 'customer'?"),
        ({"public.purchase_5_0": 1}, "public.purchase_5_0 is a partition: name public.purchase instead"),
        ({"customer": "200%"}, 'write a number of rows, 1000, or a share, "1%" or "0.5%"'),
        ({"customer": -1}, "write a number of rows"),
        ({"customer": True}, "write a number of rows"),
        (["customer"], "is not a dictionary"),
    ],
)
def test_a_wrong_sample_is_refused_before_rows_are_moved(copies: Copies, sample: Any, words: str) -> None:
    with pytest.raises(Misconfigured, match=words.replace("?", r"\?")):
        sampled(copies, sample)


@pytest.mark.nightly
def test_a_large_table_is_sampled_by_its_pages(copies: Copies) -> None:
    copies.make_source(
        "sampled_large",
        "CREATE TABLE big (id int PRIMARY KEY, filler text)",
        "INSERT INTO big SELECT n, repeat('x', 400) FROM generate_series(1, 120000) n",
        "CREATE TABLE small (id int PRIMARY KEY, big_id int REFERENCES big)",
        "INSERT INTO small SELECT n, n FROM generate_series(1, 5000) n",
    )
    for analysed in (False, True):
        if analysed:
            copies.source_server.run("ANALYZE big", database="sampled_large")
        for amount, low, high in (("1%", 600, 2400), (3000, 3000, 3000), (130000, 120000, 120000)):
            copies.fill("sampled_large", "sampled_large", {"sample": {"big": amount}, "verify": True})
            assert low <= count(copies, "sampled_large", "big") <= high


@pytest.mark.nightly
def test_keys_compare_as_their_columns_do(copies: Copies) -> None:
    """By citext's own equality; names in need of quotes, and chains."""
    copies.make_source(
        "sampled_types",
        "CREATE EXTENSION citext",
        "CREATE TABLE town (name citext PRIMARY KEY)",
        "CREATE TABLE person (id int PRIMARY KEY, town citext REFERENCES town)",
        "INSERT INTO town VALUES ('Ulm'), ('Bonn'), ('Kiel')",
        "INSERT INTO person VALUES (1, 'ULM'), (2, 'bonn'), (3, 'uLm')",
        "ALTER TABLE town ADD mayor int REFERENCES person",
        "UPDATE town SET mayor = 2",
        'CREATE TABLE "p0 ""x" (c0 int PRIMARY KEY, p0 int REFERENCES "p0 ""x")',
        'INSERT INTO "p0 ""x" SELECT n, greatest(n - 1, 1) FROM generate_series(1, 30) n',
    )
    sample = {"person": 3, "town": 0, 'p0 "x': 1}
    copies.fill("sampled_types", "sampled_types", {"sample": sample, "verify": True})
    assert ids(copies, "sampled_types", "town", "name") == {"Ulm", "Bonn"}
    copies.fill("sampled_types", "sampled_towns", {"sample": {"town": 3}})
    assert count(copies, "sampled_towns", "person") == 3
    chain = ids(copies, "sampled_types", '"p0 ""x"', "c0")
    assert chain == set(range(1, max(chain) + 1))


@pytest.mark.nightly
def test_a_temporal_key_brings_all_rows_that_cover_its_time(copies: Copies) -> None:
    """PostgreSQL 18 has them; a range for the number too, so that no extension is needed."""
    copies.make_source(
        "sampled_times",
        "CREATE TABLE room (id int4range, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS))",
        "CREATE TABLE stay (id int PRIMARY KEY, room int4range, during daterange, "
        "FOREIGN KEY (room, PERIOD during) REFERENCES room (id, PERIOD during))",
        # Each room is made of a row a month.
        "INSERT INTO room SELECT int4range(n, n + 1), daterange(d::date, (d + interval '1 month')::date) "
        "FROM generate_series(1, 20) n, generate_series('2026-01-01', '2026-12-01', interval '1 month') d",
        "INSERT INTO stay SELECT n, int4range(n, n + 1), '[2026-02-10,2026-04-02)' "
        "FROM generate_series(1, 20) n",
        # In a circle neither table is cut to what belongs to the other's rows.
        "ALTER TABLE room ADD first_stay int REFERENCES stay",
    )
    copies.fill("sampled_times", "sampled_times", {"sample": {"stay": 2, "room": 0}, "verify": True})
    assert count(copies, "sampled_times", "stay") == 2
    assert count(copies, "sampled_times", "room") == 6, "of two stays the three months each"
    copies.fill("sampled_times", "sampled_times", {"sample": {"room": "5%"}, "verify": True})
    assert 1 <= count(copies, "sampled_times", "stay") <= 12


def test_a_row_below_a_chosen_one_by_a_temporal_key_brings_the_others_that_cover_its_time(
    copies: Copies,
) -> None:
    copies.make_source(
        "sampled_cover",
        "CREATE TABLE room (id int4range, days int4range, PRIMARY KEY (id, days WITHOUT OVERLAPS))",
        "CREATE TABLE stay (room int4range, days int4range, "
        "FOREIGN KEY (room, PERIOD days) REFERENCES room (id, PERIOD days))",
        "INSERT INTO room SELECT int4range(n, n + 1), int4range(d, d + 10) "
        "FROM generate_series(1, 20) n, generate_series(0, 50, 10) d",
        "INSERT INTO stay SELECT int4range(n, n + 1), '[15,45)' FROM generate_series(1, 20) n",
    )
    copies.fill("sampled_cover", "sampled_cover", {"sample": {"room": 5}, "verify": True})
    uncovered = "stay WHERE NOT days <@ (SELECT range_agg(days) FROM room WHERE room.id = stay.room)"
    assert count(copies, "sampled_cover", "stay") > 0
    assert count(copies, "sampled_cover", uncovered) == 0
