"""Rules are tried on some rows before all are moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import Told

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

TRIED = r'STAGE_COPY\["mask"\] was tried on some rows of public\.person, and they could not be copied: '


def born(value: str | None) -> int:
    """A rule in Python that takes numbers alone."""
    return int(str(value))


@pytest.fixture(scope="module", autouse=True)
def source(copies: Copies) -> None:
    copies.make_source(
        "tried",
        "CREATE DOMAIN company AS text CHECK (VALUE ~ '@corp.com')",
        "CREATE TABLE person (id int, mail text CHECK (mail ~ '@corp.com'), work company, born text)",
        "INSERT INTO person SELECT n, n || '@corp.com', n || '@corp.com', n FROM generate_series(1, 20000) n",
        "UPDATE person SET born = 'é' WHERE id > 15000",
        "CREATE TABLE nobody (mail text CHECK (mail ~ '@corp.com'))",
    )


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        ({"person.mail": "email"}, TRIED + '.*check constraint "person_mail_check"'),
        ({"person.work": "email"}, TRIED + '.*check constraint "company_check"'),
        ({"person.born": {"call": f"{__name__}.born"}}, r"the rule of public\.person\.born failed at row"),
    ],
)
def test_what_a_rule_gives_and_the_table_does_not_take_is_told_before_rows_are_moved(
    copies: Copies, mask: dict[str, Any], why: str
) -> None:
    """Also if the rows lie far behind the first ones."""
    told = Told()
    with pytest.raises(Failed, match=why):
        copies.fill("tried", "tried", {"mask": mask}, told)
    assert told.phases == ["schema"]


def test_the_rows_that_were_tried_are_no_part_of_the_copy(copies: Copies) -> None:
    mask = {"nobody.mail": "email", "person.id": {"value": 1}, "person.born": "name"}
    moved = copies.fill("tried", "tried", {"mask": mask, "verify": True})
    assert moved.rows == {"public.person": 20000, "public.nobody": 0}
    [(rows, same)] = copies.rows(copies.target_server, "tried", "SELECT count(*), sum(id) FROM person")
    assert rows == same == 20000
