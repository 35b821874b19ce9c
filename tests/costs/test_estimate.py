from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from copilot_testenv.copilot import manifest
from copilot_testenv.core import office_hours
from copilot_testenv.core.errors import SettingsError, UsageError
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.costs import prices
from copilot_testenv.costs.estimate import Estimate, compare, estimate, short
from copilot_testenv.costs.prices import Price, Prices, Typical
from copilot_testenv.costs.report import conditions, cost, of_every_estimate
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell

ROOT = Path(__file__).parents[2]
SERVICE: dict[str, Any] = {"type": "Load Balanced Web Service", "http": {"path": "/"}}


def listed(**usd: float) -> Prices:
    """Round prices, all of one day; `without=0` has no item left out by its name."""
    known = {
        "fargate-x86-vcpu": 0.04, "fargate-x86-gb": 0.004, "fargate-arm-vcpu": 0.03, "fargate-arm-gb": 0.003,
        "fargate-storage-gb": 0.0001, "public-ipv4": 0.005, "load-balancer": 0.02, "nat-gateway": 0.05,
        "cache.t4g.micro": 0.016, "cache.t3.micro": 0.017,
    }  # fmt: skip
    known.update(usd)
    day = date(2026, 9, 11)
    return Prices(
        "eu-west-1",
        {item: Price(each, "hour", "https://aws.amazon.com", day) for item, each in known.items() if each},
        Typical(0.75, "https://aws.amazon.com", date(2026, 9, 28)),
        ("eu-west-1",),
    )


def amounts(found: Estimate) -> dict[str, float | None]:
    return {line.what: line.per_hour for line in found.lines}


def session(settings: Settings, **environ: str) -> tuple[Session, FakeReport, FakeShell]:
    report, shell = FakeReport(), FakeShell()
    return Session(settings, shell, report, environ), report, shell


def test_a_small_spot_task_costs_its_share_and_its_address() -> None:
    found = estimate(
        {**SERVICE, "environments": {"test": {"cpu": 256, "memory": 512, "count": {"spot": 1}}}},
        "test",
        listed(),
        hours=100,
    )
    # A quarter of a vCPU at 0.04 and half a GB at 0.004, each less 75 %, and one address.
    assert amounts(found) == {
        "Fargate Spot, vCPU": pytest.approx(0.0025),
        "Fargate Spot, GB of memory": pytest.approx(0.0005),
        "public IPv4 address of each task": 0.005,
    }
    assert found.per_hour == pytest.approx(0.008)
    assert found.until_end == pytest.approx(0.8)
    assert found.per_month == pytest.approx(5.84)
    assert found.left_out == ()


def test_a_scaled_service_is_counted_at_its_least_part_of_it_on_spot() -> None:
    found = estimate(
        {**SERVICE, "cpu": 1024, "memory": 2048, "count": {"range": {"min": 3, "max": 9, "spot_from": 3}}},
        "test",
        listed(),
        hours=None,
    )
    assert amounts(found) == {
        "Fargate, vCPU": pytest.approx(0.08),
        "Fargate, GB of memory": pytest.approx(0.016),
        "Fargate Spot, vCPU": pytest.approx(0.01),
        "Fargate Spot, GB of memory": pytest.approx(0.002),
        "public IPv4 address of each task": pytest.approx(0.015),
    }
    assert found.until_end is None
    assert "test scales: it is counted with its smallest number of tasks, 3 of up to 9." in conditions(
        SERVICE, compare(SERVICE, found)
    )


def test_arm_tasks_in_private_subnets_have_prices_of_their_own_and_no_address() -> None:
    block = {
        "platform": "linux/arm64",
        "count": 2,
        "storage": {"ephemeral": 50},
        "network": {"vpc": {"placement": "private"}},
    }
    found = estimate({**SERVICE, "environments": {"test": block}}, "test", listed(), hours=None)
    assert amounts(found) == {
        "Fargate, vCPU": pytest.approx(0.015),
        "Fargate, GB of memory": pytest.approx(0.003),
        "Fargate, GB of storage beyond 20": pytest.approx(0.006),
    }
    assert {line.what: line.per_hour for line in found.shared} == {
        "load balancer": 0.02,
        "load balancer's IPv4 addresses": 0.01,
        "NAT gateways": 0.1,
        "NAT gateways' IPv4 addresses": 0.01,
    }


def test_the_environments_own_is_shown_and_in_no_sum() -> None:
    dear = estimate(SERVICE, "test", listed(**{"load-balancer": 0.9}), hours=None)
    assert dear.per_hour == estimate(SERVICE, "test", listed(), hours=None).per_hour


def test_a_service_of_no_task_costs_nothing() -> None:
    found = estimate({**SERVICE, "count": 0}, "test", listed(), hours=10)
    assert (found.lines, found.per_hour, found.until_end) == ((), 0, 0)
    assert "no task" in short(found)


def test_a_price_that_is_missing_is_said_and_never_guessed() -> None:
    found = estimate(
        {**SERVICE, "storage": {"ephemeral": 21}}, "test", listed(**{"fargate-storage-gb": 0}), hours=None
    )
    assert found.left_out == ("no list price for Fargate, GB of storage beyond 20 in eu-west-1",)
    assert found.per_hour == pytest.approx(0.01 + 0.002 + 0.005)
    assert compare(SERVICE, found).saving is None


def test_a_region_without_any_price_has_no_sum() -> None:
    found = estimate(SERVICE, "test", prices.load("eu-nowhere-1"), hours=10)
    assert (found.per_hour, found.until_end, found.per_month) == (None, None, None)
    known = "ap-southeast-2, eu-central-1, eu-west-1, eu-west-2, us-east-1, us-west-2"
    assert found.left_out == (f"no list price of anything in eu-nowhere-1, only in {known}",)
    assert short(found).startswith("The costs are not known: no list price of anything in eu-nowhere-1")


def test_a_copy_of_stage_has_a_cache_node_and_stages_own_tasks() -> None:
    found = {
        **SERVICE,
        "cpu": 512,
        "memory": 1024,
        "count": 2,
        "environments": {"stage": {"count": 3}, "test": {"cpu": 256, "memory": 512, "count": {"spot": 1}}},
    }
    comparison = compare(found, estimate(found, "test", listed(), hours=24))
    # Stage: 3 * (0.5 * 0.04 + 1 * 0.004 + 0.005) + 0.016 = 0.103 an hour. Test: 0.008.
    assert comparison.always_on.per_hour == pytest.approx(0.103)
    assert comparison.always_on.per_month == pytest.approx(75.19)
    assert comparison.saving == pytest.approx((0.103 - 0.008) * 730)
    assert comparison.per_cent == pytest.approx(100 * 0.095 / 0.103)
    dearer = compare(found, comparison.deployed, "cache.t3.micro")
    assert dearer.always_on.per_hour == pytest.approx(0.104)


def test_where_nothing_is_saved_that_is_said_too() -> None:
    found = {**SERVICE, "environments": {"stage": {"count": 1}, "test": {"count": 9}}}
    comparison = compare(found, estimate(found, "test", listed(), hours=None))
    assert comparison.saving is not None
    assert comparison.per_cent is not None
    assert comparison.saving < 0
    assert comparison.per_cent < 0


@pytest.mark.parametrize("node", ["cache.r9g.huge", "db.t4g.micro", "fargate-x86-vcpu", "", "\x1b[2J"])
def test_a_node_without_a_price_leaves_the_saving_open(node: str) -> None:
    comparison = compare(SERVICE, estimate(SERVICE, "test", listed(), hours=None), node)
    assert (comparison.saving, comparison.per_cent) == (None, None)
    assert len(comparison.always_on.left_out) == 1
    assert comparison.always_on.left_out[0].startswith("no list price for ElastiCache, '")
    assert comparison.always_on.left_out[0].isprintable()


def test_a_manifest_without_a_block_for_stage_says_that_its_base_is_reckoned() -> None:
    deployed = estimate(SERVICE, "test", listed(), hours=None)
    with_block = {**SERVICE, "environments": {"stage": {}}}
    said = [
        any("no block `stage`" in line for line in conditions(found, compare(found, deployed)))
        for found in (SERVICE, with_block)
    ]
    assert said == [True, False]


def test_short_is_one_line_with_all_that_matters() -> None:
    found = manifest.read(ROOT / "copilot" / "web" / "manifest.yml")
    until = "2026-11-27T18:00:00Z"
    assert short(estimate(found, "test", listed(), hours=100, until=until)) == (
        "Costs some 0.008 USD an hour (Fargate Spot, 0.25 vCPU, 0.5 GB, a public IPv4 address), "
        "0.80 USD until 2026-11-27T18:00:00Z; list prices of eu-west-1, the oldest of 2026-09-11."
    )
    assert short(estimate(found, "stage", listed(), hours=30)) == (
        "Cost some 0.058 USD an hour (2 tasks on Fargate, each 0.5 vCPU, 1 GB, a public IPv4 address), "
        "1.74 USD in 30 h; list prices of eu-west-1, the oldest of 2026-09-11."
    )
    assert "42.34 USD a month" in short(estimate(found, "stage", listed(), hours=None))


def test_the_date_is_that_of_the_oldest_price_in_the_sum() -> None:
    old = {**listed().items, "public-ipv4": Price(0.005, "hour", "https://aws.amazon.com", date(2024, 2, 1))}
    found = estimate(SERVICE, "test", replace(listed(), items=old), hours=None)
    assert short(found).endswith("list prices of eu-west-1, the oldest of 2024-02-01.")
    assert any("the oldest of 2024-02-01" in line for line in conditions(SERVICE, compare(SERVICE, found)))


def test_short_names_what_it_leaves_out() -> None:
    line = short(estimate({**SERVICE, "cpu": "${CPU}"}, "test", listed(), hours=None))
    assert "of unknown size" in line
    assert line.endswith(
        "; left out: cpu and memory: `cpu: '${CPU}'` with `memory: 512` is not a size of Fargate's."
    )


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["spot", "range", "min", "max", "vpc", "ephemeral"]), inner, max_size=3
        )
    ),
)
BLOCKS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "count", "platform", "http", "storage", "network"]), VALUES, max_size=5
)


@examples(deadline=None, derandomize=True)
@given(base=BLOCKS, test=BLOCKS | VALUES, stage=BLOCKS | VALUES, hours=st.none() | st.floats(0, 10**6))
def test_no_manifest_is_a_traceback_and_every_sum_is_a_finite_one(
    base: dict[str, Any], test: Any, stage: Any, hours: float | None
) -> None:
    found = {**SERVICE, **base, "environments": {"test": test, "stage": stage}}
    comparison = compare(found, estimate(found, "test", listed(), hours=hours))
    for each in (comparison.deployed, comparison.always_on):
        for sum_of in (each.per_hour, each.per_month, each.until_end):
            assert sum_of is None or (math.isfinite(sum_of) and sum_of >= 0)
        assert short(each).isprintable()
    assert (comparison.saving is None) is bool(comparison.deployed.left_out or comparison.always_on.left_out)
    assert all(
        line.isprintable() for line in (*conditions(found, comparison), *of_every_estimate(comparison))
    )


def test_office_hours_are_counted_by_the_month_and_until_the_end(settings: Settings) -> None:
    hours = office_hours.parse("mon-fri 08:00-19:00 Europe/London")
    found = manifest.read(ROOT / "copilot" / "web" / "manifest.yml")
    deployed = estimate(found, "test", listed(), hours=168, awake=hours, running=55)
    assert deployed.until_end == pytest.approx(0.008 * 55)
    assert deployed.per_month == pytest.approx(0.008 * 730 * 55 / 168)
    assert "0.008 USD an hour while awake (mon-fri 08:00-19:00 Europe/London)" in short(deployed)
    assert compare(found, deployed).always_on.per_month == compare(found, deployed).always_on.per_hour * 730  # type: ignore[operator]  # it is known
    report = FakeReport()
    here = Session(replace(settings, hours=hours, ttl="4w"), FakeShell(), report, {})
    cost(here, json=True, region="eu-west-1", node="")
    told = json.loads(report.printed[0])["deployed"]
    assert told["office_hours"] == "mon-fri 08:00-19:00 Europe/London"
    assert (told["hours"], told["hours_awake"]) == (pytest.approx(672, abs=0.1), pytest.approx(220, abs=1))
    assert told["until_end"] == pytest.approx(told["an_hour"] * told["hours_awake"], abs=1e-4)
    assert told["a_month"] == pytest.approx(told["an_hour"] * 730 * 55 / 168, abs=1e-4)
    cost(here, json=False, region="eu-west-1", node="")
    assert any("are counted for 239 h a month, 55 h a week" in line for line in report.said)


def test_the_workflow_shows_two_tables_and_starts_no_process(settings: Settings) -> None:
    here, report, shell = session(settings)
    cost(here, json=False, region="eu-west-1", node="")
    titles = [text.split(" [")[0] for text in report.printed]
    assert [re.sub("until [^ ]+Z", "until then", title) for title in titles] == [
        "web in test until then: USD, list prices of eu-west-1",
        "web always on, as a copy of stage with ElastiCache",
    ]
    assert "shared load balancer" in report.printed[0]
    assert "saved in test" in report.printed[1]
    assert not any("Spot" in line for line in report.said)  # the workspace's manifest has none
    assert "in no sum: docs/costs.md#what-every-estimate-assumes" in report.said[-1]
    assert shell.ran == []


def test_json_is_one_document_with_every_price_that_it_stands_on(settings: Settings) -> None:
    here, report, _ = session(settings)
    cost(here, json=True, region="us-east-1", node="cache.t3.micro")
    (text,) = report.printed
    document = json.loads(text)
    assert set(document) == {
        "region", "currency", "deployed", "always_on", "saving", "assumptions", "prices",
    }  # fmt: skip
    deployed, always_on = document["deployed"], document["always_on"]
    assert deployed["an_hour"] == pytest.approx(sum(line["an_hour"] for line in deployed["lines"]), abs=1e-7)
    assert deployed["until_end"] == pytest.approx(deployed["an_hour"] * deployed["hours"], abs=1e-4)
    assert always_on["lines"][-1]["what"] == "ElastiCache, cache.t3.micro"
    assert document["saving"]["a_month"] == pytest.approx(
        always_on["a_month"] - deployed["a_month"], abs=1e-6
    )
    for price in document["prices"].values():
        assert set(price) == {"usd", "unit", "source", "as_of"}


@pytest.mark.parametrize(
    ("flag", "environ", "region", "told"),
    [
        ("eu-west-2", {"AWS_REGION": "eu-west-1"}, "eu-west-2", False),
        ("", {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}, "eu-west-1", False),
        ("", {"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2", False),
        ("", {}, "us-east-1", True),
    ],
)
def test_the_region_is_the_flags_else_the_environments_else_said_to_be_a_default(
    settings: Settings,
    flag: str,
    environ: dict[str, str],
    region: str,
    told: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    here, report, _ = session(settings, **environ)
    cost(here, json=True, region=flag, node="")
    assert json.loads(report.printed[0])["region"] == region
    assert any(line.startswith("No region is set") for line in report.said) is told


@pytest.mark.parametrize("region", ["Ireland", "eu-west-1\x1b[2J", "eu-west-1 ", "x" * 999])
def test_a_region_that_cannot_be_one_is_a_usage_error(settings: Settings, region: str) -> None:
    here, report, _ = session(settings)
    with pytest.raises(UsageError, match="cannot be a region") as caught:
        cost(here, json=True, region=region, node="")
    assert str(caught.value).isprintable()
    assert report.printed == []


def test_a_region_without_prices_is_said_for_both_sums_at_once(settings: Settings) -> None:
    here, report, _ = session(settings)
    cost(here, json=False, region="eu-nowhere-1", node="")
    said = [line for line in report.said if "eu-nowhere-1" in line and "left out" in line]
    assert len(said) == 1
    assert said[0].endswith("us-west-2: left out of the sum (test, stage).")


def test_a_manifest_without_the_block_or_a_wrong_ttl_ends_as_a_deploy_would(workspace: Path) -> None:
    here, _, _ = session(load(workspace, {"DEPLOY_TTL": "someday"}))
    with pytest.raises(SettingsError, match="DEPLOY_TTL"):
        cost(here, json=False, region="", node="")
    (workspace / "copilot/web/manifest.yml").write_text("type: Load Balanced Web Service\n")
    with pytest.raises(SettingsError, match="no block `test`"):
        cost(session(load(workspace, {}))[0], json=False, region="", node="")
