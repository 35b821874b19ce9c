"""How many attacks the suite holds: one that is taken out is missed."""

from __future__ import annotations

import pytest

from tests.attacks import (
    branches,
    hostile_branches,
    hostile_calls,
    hostile_containers,
    hostile_names,
    test_objects,
    test_secrets,
)


@pytest.mark.parametrize(
    ("kind", "count", "least"),
    [
        ("files of branches", len(hostile_branches.HOSTILE), 80),
        ("renderings of branches", len(branches.HOSTILE), 110),
        ("names and settings", len(hostile_names.CASES), 80),
        ("neighbours", len(hostile_calls.OUTSIDE) + len(hostile_calls.INSIDE), 50),
        ("containers and build steps", len(hostile_containers.ATTACKS), 25),
        (
            "objects",
            len(test_objects.HOSTILE_LEASES)
            + len(test_objects.HOSTILE_REGISTRIES)
            + len(test_objects.HOSTILE_ENTRIES),
            80,
        ),
        ("malformed addresses, beside those that hypothesis makes", len(test_secrets.SHAPES), 60),
    ],
)
def test_the_suite_holds_so_many_attacks(kind: str, count: int, least: int) -> None:
    assert count >= least, kind
