"""A database that cannot be reached: what is said of it."""

from __future__ import annotations

import psycopg
import pytest

from django_testenv.stage_copy import database
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.problems import Failed


@pytest.mark.parametrize(
    ("told", "cure"),
    [
        ("connection timeout expired", "no route leads to its server, or no security group"),
        ('connection to server at "10.0.2.9", port 5432 failed: No route to host', "no route leads"),
        ('could not translate host name "stage.abc.rds.amazonaws.com" to address', "no route leads"),
        ('connection to server at "10.0.2.9", port 5432 failed: Connection refused', "check the address and"),
        (
            'connection failed: FATAL:  password authentication failed for user "test"',
            "check the address and",
        ),
    ],
)
def test_a_server_that_no_packet_reaches_is_told_apart_from_one_that_refuses(
    monkeypatch: pytest.MonkeyPatch, told: str, cure: str
) -> None:
    def connect(**_: object) -> None:
        raise psycopg.OperationalError(told)

    monkeypatch.setattr(database.psycopg, "connect", connect)
    with pytest.raises(Failed, match=cure):
        Database("stage", {"dbname": "shop", "user": "reader", "host": "10.0.2.9"}).connect()
