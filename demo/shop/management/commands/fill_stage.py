"""`manage.py fill_stage`: fill a staging database with plausible generated data to copy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

if TYPE_CHECKING:
    import argparse

# Rows for one megabyte of database with its indexes, measured on PostgreSQL 18. The number of products is the
# same for every size.
_CUSTOMERS, _ORDERS, _LINES_PER_ORDER, _EVENTS = 90, 220, 3, 2100
_PRODUCTS = 500

# The values of row i depend only on i, by arithmetic and hashes, so that the same size gives the same rows.
_FILL = (
    """INSERT INTO shop_customer (id, name, email, country, joined_at)
    SELECT i,
        (ARRAY['Ada','Ben','Cleo','Dario','Elif','Farid','Greta','Hugo','Ines','Jonas','Kaia','Liam','Mira',
            'Noah','Olga','Pavel','Rosa','Sami','Tilda','Yuki'])[1 + abs(hashint8(i)) %% 20] || ' ' ||
        (ARRAY['Abel','Berg','Costa','Dahl','Eriksen','Fischer','Garcia','Haas','Ito','Jansen','Keller',
            'Lopez','Moreau','Novak','Okafor','Petrov','Rossi','Silva','Tanaka','Weber']
        )[1 + abs(hashint8(i + 7)) %% 20],
        'customer' || i || '@example.com',
        (ARRAY['AT','BR','CH','DE','ES','FR','GB','IT','JP','PL','SE','US'])[1 + abs(hashint8(i + 1)) %% 12],
        timestamptz '2022-01-01Z' + abs(hashint8(i + 2)) %% 1800 * interval '1 day' + i * interval '1 second'
    FROM generate_series(1, %(customers)s::bigint) AS i""",
    """INSERT INTO shop_product (id, sku, name, description, price, stock)
    SELECT i, 'SKU-' || lpad(i::text, 6, '0'),
        (ARRAY['Oak','Linen','Steel','Clay','Wool','Glass','Cork','Paper'])[1 + abs(hashint8(i)) %% 8]
        || ' ' ||
        (ARRAY['Lamp','Chair','Bowl','Blanket','Shelf','Kettle','Notebook','Mirror']
        )[1 + abs(hashint8(i + 3)) %% 8],
        'Made to last. Batch ' || md5(i::text), (100 + abs(hashint8(i + 4)) %% 20000) / 100.0,
        abs(hashint8(i + 5)) %% 400
    FROM generate_series(1, %(products)s::bigint) AS i""",
    """INSERT INTO shop_order (id, customer_id, status, placed_at)
    SELECT i, 1 + abs(hashint8(i)) %% %(customers)s,
        (ARRAY['new','paid','shipped','shipped','shipped','cancelled'])[1 + abs(hashint8(i + 1)) %% 6],
        timestamptz '2024-01-01Z' + i * interval '5 minutes'
    FROM generate_series(1, %(orders)s::bigint) AS i""",
    """INSERT INTO shop_orderline (id, order_id, product_id, quantity, unit_price)
    SELECT i, 1 + (i - 1) / %(lines)s, p.id, 1 + abs(hashint8(i)) %% 4, p.price
    FROM generate_series(1, %(orders)s::bigint * %(lines)s) AS i
    JOIN shop_product p
    ON p.id = 1 + (abs(hashint8((i - 1) / %(lines)s)) + (i - 1) %% %(lines)s * 7) %% %(products)s
    ORDER BY i""",
    """INSERT INTO shop_event (id, customer_id, kind, at, payload)
    SELECT i, CASE WHEN i %% 5 <> 0 THEN 1 + abs(hashint8(i)) %% %(customers)s END,
        (ARRAY['page_view','page_view','search','cart','checkout','login'])[1 + abs(hashint8(i + 1)) %% 6],
        timestamptz '2025-01-01Z' + i * interval '20 seconds',
        jsonb_build_object('path', '/products/' || 1 + abs(hashint8(i + 2)) %% %(products)s,
            'session', md5(i::text), 'duration_ms', abs(hashint8(i + 3)) %% 5000,
            'agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36')
    FROM generate_series(1, %(events)s::bigint) AS i""",
)
_TABLES = ("shop_customer", "shop_product", "shop_order", "shop_orderline", "shop_event")


class Command(BaseCommand):
    help = (
        "Fills the empty default database with generated customers, products, orders and events; the same "
        "size gives the same rows. Example: python manage.py fill_stage --megabytes 50"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--megabytes",
            type=int,
            default=50,
            help="about how large the database becomes, with its indexes (default: 50)",
        )

    def handle(self, *_args: str, **options: Any) -> None:
        megabytes = options["megabytes"]
        if megabytes < 1:
            raise CommandError("--megabytes must be at least 1")
        began = time.monotonic()
        numbers = {
            "customers": megabytes * _CUSTOMERS,
            "products": _PRODUCTS,
            "orders": megabytes * _ORDERS,
            "lines": _LINES_PER_ORDER,
            "events": megabytes * _EVENTS,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM shop_customer)")
            if cursor.fetchone()[0]:
                raise CommandError(
                    "nothing is filled: this database already has customers, and generated rows would mix "
                    "with them: use an empty, migrated database"
                )
            for statement in _FILL:
                cursor.execute(statement, numbers)
            for table in _TABLES:
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"  # noqa: S608  our own tables
                )
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE " + ", ".join(_TABLES))
            cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
            size = cursor.fetchone()[0]
        self.stdout.write(f"Filled the database: {size} in {time.monotonic() - began:.1f} s.")
