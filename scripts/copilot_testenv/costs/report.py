"""`invoke cost`: print the estimates of costs.estimate as tables or JSON, with their assumptions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from copilot_testenv.copilot import addons, manifest
from copilot_testenv.copilot.resource_usage import shown
from copilot_testenv.core import documents, expiry, moments
from copilot_testenv.core.errors import UsageError
from copilot_testenv.core.terminal import as_json
from copilot_testenv.costs import prices
from copilot_testenv.costs.estimate import (
    CACHE_NODE,
    HOURS_A_MONTH,
    STAGE,
    ZONES,
    Comparison,
    Estimate,
    Line,
    compare,
    estimate,
    manifests_of_others,
    oldest,
    usd,
)
from copilot_testenv.costs.prices import Prices
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.session import Session

REGION = "us-east-1"
_REGION = re.compile(r"[a-z]{2}(-[a-z]{1,12}){1,3}-[0-9]{1,2}")


def cost(session: Session, *, json: bool, region: str, node: str) -> None:
    """Print the costs of a deployment made now, and its saving. Uses neither AWS nor the sandbox.

    Raises SettingsError if the manifest, database.yml or DEPLOY_TTL is wrong, UsageError if the region is not
    a region's name.
    """
    settings = session.settings
    session.announce()
    session.check_workspace()
    found = manifest.read(settings.manifest)
    now = datetime.now(UTC)
    expires = expiry.expiry(settings.ttl, now)
    listed = prices.load(_region(session, region))
    others = manifests_of_others(settings)
    hours = (expires - now).total_seconds() / 3600
    deployed = estimate(
        found,
        settings.test_env,
        listed,
        hours=hours,
        until=live.iso(expires),
        database=addons.database(settings.root, settings.test_env),
        awake=settings.hours,
        running=settings.hours.within(now, expires) if settings.hours else None,
        others=others,
    )
    comparison = compare(found, deployed, node or CACHE_NODE, others)
    assumed = conditions(found, comparison)
    if json:
        session.report.data(as_json(_document(comparison, [*assumed, *of_every_estimate(comparison)])))
        return
    for line in (*_left_out(comparison), *assumed):
        session.report.say(line)
    _show(session, comparison)
    session.report.say(
        "Shared resources, data transfer, logs, images and backups are in no sum: "
        f"{documents.page('costs.md#what-every-estimate-assumes')}."
    )


def conditions(found: Mapping[str, Any], comparison: Comparison) -> list[str]:
    """Return what is assumed of these two deployments, one sentence each."""
    deployed, always_on, listed = comparison.deployed, comparison.always_on, comparison.deployed.prices
    since_when = oldest(deployed, always_on)
    since = f", the oldest of {since_when}" if since_when else ""
    sentences = [
        f"List prices of {listed.region}{since}, without tax, free tier, Savings Plans and discounts."
    ]
    if deployed.takes.spot or always_on.takes.spot:
        spot = listed.spot_discount
        sentences.append(
            f"Fargate Spot's price varies: {spot.fraction * 100:.0f} % below Fargate's is taken as typical, "
            f"as on {spot.as_of}."
        )
    sentences += [
        f"{each.environment} scales: it is counted with its smallest number of tasks, {each.takes.tasks} "
        f"of up to {each.takes.at_most}."
        for each in (deployed, always_on)
        if each.takes.at_most is not None
    ]
    if deployed.awake:
        sentences.append(
            f"Office hours ({deployed.awake}): the tasks of {deployed.environment} are counted for "
            f"{deployed.hours_a_month:.0f} h a month, {deployed.awake.a_week:g} h a week; what somebody "
            "wakes or lets sleep besides is not."
        )
    blocks = found.get("environments")
    if not isinstance(blocks, Mapping) or not isinstance(blocks.get(STAGE), Mapping):
        sentences.append(
            f"The manifest has no block `{STAGE}`, so its base is counted, as Copilot would deploy it."
        )
    return sentences


def of_every_estimate(comparison: Comparison) -> list[str]:
    """Return what every estimate assumes and leaves out, one sentence each."""
    deployed, always_on, listed = comparison.deployed, comparison.always_on, comparison.deployed.prices
    sentences = [
        "prices.json has the source and date of each price. What runs in the sandbox costs nothing.",
        "Sidecars run inside the task's cpu and memory: Redis and the startup sidecar add nothing.",
    ]
    if deployed.shared or always_on.shared:
        sentences.append(
            "What is called shared are the environment's own resources: they serve all its deployments, are "
            f"deleted with the last service that needs them and are in no sum. They are in {ZONES} zones, as "
            "Copilot makes them; their data and capacity units (LCU) are not counted."
        )
    valkey = _for_each(listed, f"valkey {comparison.node}")
    sentences.append(
        f"Not counted: data transfer, one-off tasks, logs ({_for_each(listed, 'logs')}), images "
        f"({_for_each(listed, 'images')}) and backups."
    )
    sentences.append(
        f"The database of {deployed.environment} stays whatever is deployed there."
        if deployed.database
        else f"{deployed.environment} has its database on a server that is there anyway; one of its own, a "
        f"db.t4g.micro, is {_for_each(listed, 'db.t4g.micro')}, and {_for_each(listed, 'db-storage')}."
    )
    sentences.append(
        f"Always on is the block `{STAGE}` of the same manifest, {HOURS_A_MONTH} h a month, and one "
        f"ElastiCache node with Redis OSS and no replica (with Valkey: {valkey})."
    )
    sentences.append(
        f"The saving assumes that the deployment also stays for those {HOURS_A_MONTH} h: a deployment that "
        "is torn down when it expires saves more."
    )
    return sentences


def _region(session: Session, region: str) -> str:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        region = region or session.environ.get(name, "")
    if not region:
        session.report.say(f"No region is set (--region, AWS_REGION): the prices are those of {REGION}.")
        return REGION
    if not _REGION.fullmatch(region):
        raise UsageError(f"{shown(region)} cannot be a region: write for example --region eu-west-1.")
    return region


def _left_out(comparison: Comparison) -> list[str]:
    """Return one sentence for each item that the sums leave out."""
    whose: dict[str, list[str]] = {}
    for each in (comparison.deployed, comparison.always_on):
        for left in each.left_out:
            whose.setdefault(left, []).append(each.environment)
    return [
        f"{left[0].upper()}{left[1:]}: left out of the sum ({', '.join(of)})." for left, of in whose.items()
    ]


def _for_each(listed: Prices, item: str) -> str:
    price = listed.get(item)
    return f"{price.usd:g} USD per {price.unit}" if price else "no list price"


def _show(session: Session, comparison: Comparison) -> None:
    deployed, always_on, service = comparison.deployed, comparison.always_on, session.settings.service
    session.report.table(
        f"{service} in {deployed.environment} until {moments.told(deployed.until)}: USD, list prices of "
        f"{deployed.prices.region}",
        ("", "an hour", "a month", "till then"),
        _rows(deployed),
    )
    saved = "?"
    if comparison.saving is not None:
        saved = usd(comparison.saving, 2)
        saved += "" if comparison.per_cent is None else f" ({comparison.per_cent:.0f} %)"
    session.report.table(
        f"{service} always on, as a copy of {STAGE} with ElastiCache",
        ("", "an hour", "a month"),
        [*_rows(always_on), (f"saved in {deployed.environment}", "", saved)],
    )


def _rows(found: Estimate) -> list[tuple[str, ...]]:
    """Return a table's rows, with one more column if the deployment expires.

    What is shared costs as much while the deployment sleeps.
    """

    def row(what: str, hour: float | None, month: float, till: float | None) -> tuple[str, ...]:
        sums = (None if hour is None or hours is None else hour * hours for hours in (month, till))
        in_month, in_all = (usd(each, 2) for each in sums)
        return what, usd(hour), in_month, *([in_all] if found.hours is not None else [])

    def own(what: str, hour: float | None) -> tuple[str, ...]:
        return row(what, hour, found.hours_a_month, found.running)

    total = "total without the items left out" if found.left_out else "total"
    return [
        *(own(f"{line.what}: {line.quantity:g}", line.per_hour) for line in found.lines),
        own(total, found.per_hour),
        *(
            row(f"shared {line.what}: {line.quantity:g}", line.per_hour, HOURS_A_MONTH, found.hours)
            for line in found.shared
        ),
    ]


def _document(comparison: Comparison, assumed: list[str]) -> dict[str, object]:
    """Return the comparison for `--json`, with amounts in USD."""
    deployed = comparison.deployed
    return {
        "region": deployed.prices.region,
        "currency": "USD",
        "deployed": {
            **_estimate_document(deployed),
            "expires_at": deployed.until,
            "hours": _rounded(deployed.hours),
            "office_hours": str(deployed.awake) if deployed.awake else None,
            "hours_awake": _rounded(deployed.running),
            "until_end": _rounded(deployed.until_end),
        },
        "always_on": _estimate_document(comparison.always_on),
        "saving": {"a_month": _rounded(comparison.saving), "per_cent": _rounded(comparison.per_cent)},
        "assumptions": assumed,
        "prices": {
            item: {"usd": price.usd, "unit": price.unit, "source": price.source, "as_of": f"{price.as_of}"}
            for item, price in deployed.prices.items.items()
        },
    }


def _estimate_document(found: Estimate) -> dict[str, object]:
    def lines(these: Iterable[Line]) -> list[dict[str, object]]:
        return [
            {
                "what": line.what,
                "quantity": line.quantity,
                "unit": line.price.unit if line.price else None,
                "usd": _rounded(line.price.usd) if line.price else None,
                "an_hour": _rounded(line.per_hour),
            }
            for line in these
        ]

    return {
        "environment": found.environment,
        "lines": lines(found.lines),
        "shared": lines(found.shared),
        "an_hour": _rounded(found.per_hour),
        "a_month": _rounded(found.per_month),
        "left_out": list(found.left_out),
    }


def _rounded(value: float | None) -> float | None:
    """Round away the digits that come from the float and not from AWS's price."""
    return None if value is None else round(value, 8)
