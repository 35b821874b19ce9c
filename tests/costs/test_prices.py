from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from copilot_testenv.costs import prices

REGIONS = ("ap-southeast-2", "eu-central-1", "eu-west-1", "eu-west-2", "us-east-1", "us-west-2")
KEPT: dict[str, Any] = json.loads(prices.FILE.read_text())
GROUPS: list[dict[str, Any]] = [*KEPT["lists"], *KEPT["typical"].values()]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: str(group.get("item", "typical")))
def test_each_price_has_a_source_where_it_was_seen_and_a_date_that_has_been(group: dict[str, Any]) -> None:
    assert urlsplit(group["source"]).netloc == "aws.amazon.com"
    assert urlsplit(group["source"]).path.endswith("/pricing/")
    assert urlsplit(group["list"]).scheme == "https"
    assert group["seen"].strip()
    assert date(2024, 1, 1) < date.fromisoformat(group["as_of"]) <= datetime.now(UTC).date()


@pytest.mark.parametrize("group", KEPT["lists"], ids=lambda group: str(group["item"]))
def test_a_price_is_a_small_number_of_usd_in_a_region_that_is_known(group: dict[str, Any]) -> None:
    assert group["unit"] in {
        "vCPU-hour", "GB-hour", "hour", "address-hour", "node-hour", "GB-month", "GB",
    }  # fmt: skip
    assert group["usd"]
    for region, usd in group["usd"].items():
        assert region in REGIONS
        assert math.isfinite(usd)
        assert 0 < usd < 1


def test_no_price_is_kept_twice() -> None:
    pairs = [(group["item"], region) for group in KEPT["lists"] for region in group["usd"]]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_has_what_this_repositorys_own_manifest_needs(region: str) -> None:
    listed = prices.load(region)
    assert listed.regions == REGIONS
    for item in ("fargate-x86-vcpu", "fargate-x86-gb", "load-balancer", "public-ipv4", "cache.t4g.micro"):
        assert listed.get(item), item


def test_a_price_that_is_not_kept_is_none_and_a_region_that_is_not_has_none() -> None:
    assert prices.load("us-west-2").get("fargate-arm-vcpu") is None
    nowhere = prices.load("eu-nowhere-1")
    assert (nowhere.region, dict(nowhere.items)) == ("eu-nowhere-1", {})
    assert nowhere.get("public-ipv4") is None
    assert nowhere.spot("fargate-x86-vcpu") is None


def test_what_spot_costs_is_typical_and_as_old_as_the_older_of_what_it_is_made_of() -> None:
    listed = prices.Prices(
        "eu-west-1",
        {"fargate-x86-vcpu": prices.Price(0.04, "vCPU-hour", "list", date(2026, 9, 11))},
        prices.Typical(0.75, "spot", date(2026, 8, 1)),
        ("eu-west-1",),
    )
    assert listed.spot("fargate-x86-vcpu") == prices.Price(0.01, "vCPU-hour", "spot", date(2026, 8, 1))
