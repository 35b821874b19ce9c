"""What a test deployment costs by AWS's list prices, and what a copy of stage would that is always on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from scripts import addons, environment, expiry, live, manifest, prices
from scripts.errors import UsageError
from scripts.footprint import Footprint, footprint, shown
from scripts.report import as_json

if TYPE_CHECKING:
    from scripts.addons import Database
    from scripts.environment import Bench
    from scripts.prices import Price, Prices

HOURS_A_MONTH = 730  # as https://calculator.aws has it
STAGE = "stage"
CACHE_NODE = "cache.t4g.micro"
REGION = "us-east-1"
_REGION = re.compile(r"[a-z]{2}(-[a-z]{1,12}){1,3}-[0-9]{1,2}")
# A load balancer has an address, and a private network a NAT gateway, in each of the two zones that an
# environment has by default. Source: internal/pkg/deploy/cloudformation/stack/env.go of aws/copilot-cli 1.34.
ZONES = 2


@dataclass(frozen=True)
class Line:
    """So many units of something, each at a list price an hour; None where none is kept."""

    what: str
    quantity: float
    price: Price | None

    @property
    def per_hour(self) -> float | None:
        return self.quantity * self.price.usd if self.price else None


@dataclass(frozen=True)
class Estimate:
    """What a service costs in an environment, in USD. `shared` is the environment's, and in no sum."""

    environment: str
    prices: Prices
    takes: Footprint
    lines: tuple[Line, ...]
    shared: tuple[Line, ...]
    hours: float | None  # until its end, if it has one
    until: str | None
    left_out: tuple[str, ...]
    database: Database | None = None  # the environment's own

    @property
    def per_hour(self) -> float | None:
        """Without what is left out; None where that is all of it."""
        known = [line.per_hour for line in self.lines if line.per_hour is not None]
        return sum(known) if known or not self.left_out else None

    @property
    def until_end(self) -> float | None:
        return self._times(self.hours)

    @property
    def per_month(self) -> float | None:
        return self._times(HOURS_A_MONTH)

    def _times(self, hours: float | None) -> float | None:
        return None if self.per_hour is None or hours is None else self.per_hour * hours


@dataclass(frozen=True)
class Comparison:
    """A deployment beside the same service always on: a copy of stage, with an ElastiCache node."""

    deployed: Estimate
    always_on: Estimate
    node: str

    @property
    def saving(self) -> float | None:
        """USD a month; None where something is left out of either."""
        ours, theirs = self.deployed, self.always_on
        if ours.left_out or theirs.left_out or ours.per_month is None or theirs.per_month is None:
            return None
        return theirs.per_month - ours.per_month

    @property
    def per_cent(self) -> float | None:
        if self.saving is None or not self.always_on.per_month:
            return None
        return 100 * self.saving / self.always_on.per_month


def estimate(
    found: Mapping[str, Any],
    name: str,
    listed: Prices,
    *,
    hours: float | None,
    until: str | None = None,
    database: Database | None = None,
) -> Estimate:
    """What the service of a manifest costs in the environment `name`, for `hours` or without an end.

    `until` is the end's name, `database` the environment's own. Nothing is raised: what cannot be priced is
    named in `left_out`.
    """
    takes = footprint(found, name)
    lines = tuple(_task_lines(takes, listed))
    shared = (*_shared_lines(takes, listed), *(_database_lines(database, listed) if database else ()))
    left_out = dict.fromkeys((*takes.left_out, *_missing((*lines, *shared), listed)))
    return Estimate(name, listed, takes, lines, shared, hours, until, tuple(left_out), database)


def compare(found: Mapping[str, Any], deployed: Estimate, node: str = CACHE_NODE) -> Comparison:
    """A deployment beside stage's block of the same manifest and one ElastiCache node, all month."""
    copy = estimate(found, STAGE, deployed.prices, hours=None)
    price = deployed.prices.get(node) if node.startswith("cache.") else None
    line = Line(f"ElastiCache, {node if price else shown(node)}", 1, price)
    left_out = dict.fromkeys((*copy.left_out, *_missing((line,), deployed.prices)))
    return Comparison(deployed, replace(copy, lines=(*copy.lines, line), left_out=tuple(left_out)), node)


def short(found: Estimate) -> str:
    """One line, for a plan and for a receipt."""
    if found.per_hour is None:
        return f"What it costs is not known: {found.left_out[0]}."
    verb, total = "Costs", f"{found.per_month:.2f} USD a month"
    if found.until_end is not None:
        verb = verb if found.until else "Cost"
        span = f"until {found.until}" if found.until else f"in {found.hours:.0f} h"
        total = f"{found.until_end:.2f} USD {span}"
    without = f"; left out: {'; '.join(found.left_out)}" if found.left_out else ""
    since = f", {oldest:%Y-%m}" if (oldest := _oldest(found)) else ""
    return (
        f"{verb} some {_usd(found.per_hour, 3)} USD an hour ({_size(found.takes)}), {total}; "
        f"list prices of {found.prices.region}{since}{without}."
    )


def of_deployment(bench: Bench, region: str, until: datetime | None, since: datetime | None = None) -> str:
    """One line for a deployment: what it will cost until its end, or has cost since it was deployed."""
    settings = bench.settings
    found = manifest.read(settings.manifest)
    end = datetime.now(UTC) if since else until
    begin = since or datetime.now(UTC)
    hours = (end - begin).total_seconds() / 3600 if end else None
    told = live.iso(until) if until and not since else None
    return short(estimate(found, settings.test_env, prices.load(region), hours=hours, until=told))


def cost(bench: Bench, *, json: bool, region: str, node: str) -> None:
    """Show what a deployment made now would cost, and what it saves. Asks neither AWS nor the sandbox.

    Raises SettingsError where the manifest, database.yml or DEPLOY_TTL is wrong, UsageError where the region
    is none.
    """
    settings = bench.settings
    environment.announce(bench)
    environment.check_workspace(bench)
    found = manifest.read(settings.manifest)
    now = datetime.now(UTC)
    end = expiry.expiry(settings.ttl, now)
    listed = prices.load(_region(bench, region))
    hours = (end - now).total_seconds() / 3600
    deployed = estimate(
        found,
        settings.test_env,
        listed,
        hours=hours,
        until=live.iso(end),
        database=addons.database(settings.root, settings.test_env),
    )
    comparison = compare(found, deployed, node or CACHE_NODE)
    assumed = assumptions(found, comparison)
    if json:
        bench.report.data(as_json(_document(comparison, assumed)))
        return
    _show(bench, comparison)
    for line in (*_left_out(comparison), *assumed):
        bench.report.say(line)


def assumptions(found: Mapping[str, Any], comparison: Comparison) -> list[str]:
    """What the sums take for granted, each a sentence."""
    deployed, always_on, listed = comparison.deployed, comparison.always_on, comparison.deployed.prices
    oldest = _oldest(deployed, always_on)
    since = f", the oldest of {oldest}" if oldest else ""
    said = [
        f"List prices of {listed.region}{since}, without tax, free tier, Savings Plans and discounts.",
        "scripts/prices.json has the source and date of each. What runs in the sandbox costs nothing.",
        "Sidecars run inside the task's cpu and memory: Redis and the startup sidecar add nothing.",
    ]
    if deployed.takes.spot or always_on.takes.spot:
        spot = listed.spot_discount
        said.append(
            f"Fargate Spot's price varies: {spot.fraction * 100:.0f} % below Fargate's is taken as typical, "
            f"as it was on {spot.as_of}."
        )
    said += [
        f"{each.environment} scales: it is counted at its least, {each.takes.tasks} of up to "
        f"{each.takes.at_most} tasks."
        for each in (deployed, always_on)
        if each.takes.at_most is not None
    ]
    if deployed.shared or always_on.shared:
        said.append(
            "What is the environment's serves whatever is deployed there, goes with the last service that "
            f"needs it and is in no sum. It has {ZONES} zones, as Copilot makes them; its data and capacity "
            "units (LCU) are not counted."
        )
    said.append(
        f"Not counted: data transfer, one-off tasks, logs ({_for_each(listed, 'logs')}), images "
        f"({_for_each(listed, 'images')}) and backups."
    )
    said.append(
        f"The database of {deployed.environment} stays whatever is deployed there."
        if deployed.database
        else f"{deployed.environment} has its database on a server that is there anyway; one of its own, a "
        f"db.t4g.micro, is {_for_each(listed, 'db.t4g.micro')}, and {_for_each(listed, 'db-storage')}."
    )
    valkey = _for_each(listed, f"valkey {comparison.node}")
    said.append(
        f"Always on is the block `{STAGE}` of the same manifest, {HOURS_A_MONTH} h a month, and one "
        f"ElastiCache node with Redis OSS and no replica (with Valkey: {valkey})."
    )
    said.append(
        f"What is saved is reckoned with a deployment that stays for those {HOURS_A_MONTH} h too: one that "
        "is torn down at its end saves more."
    )
    blocks = found.get("environments")
    if not isinstance(blocks, Mapping) or not isinstance(blocks.get(STAGE), Mapping):
        said.append(
            f"The manifest has no block `{STAGE}`, so its base is reckoned, as Copilot would deploy it."
        )
    return said


def _task_lines(takes: Footprint, listed: Prices) -> Iterable[Line]:
    machine = "arm" if takes.arm else "x86"
    for tasks, what, price in (
        (takes.on_demand, "Fargate", listed.get),
        (takes.spot, "Fargate Spot", listed.spot),
    ):
        if tasks and takes.cpu:
            yield Line(f"{what}, vCPU", tasks * takes.cpu, price(f"fargate-{machine}-vcpu"))
            yield Line(f"{what}, GB of memory", tasks * takes.memory, price(f"fargate-{machine}-gb"))
    if takes.tasks and takes.storage:
        extra = takes.tasks * takes.storage
        yield Line("Fargate, GB of storage beyond 20", extra, listed.get("fargate-storage-gb"))
    if takes.tasks and takes.public:
        yield Line("public IPv4 address of each task", takes.tasks, listed.get("public-ipv4"))


def _shared_lines(takes: Footprint, listed: Prices) -> Iterable[Line]:
    address = listed.get("public-ipv4")
    if takes.balanced:
        yield Line("load balancer", 1, listed.get("load-balancer"))
        yield Line("load balancer's IPv4 addresses", ZONES, address)
    if takes.private:
        yield Line("NAT gateways", ZONES, listed.get("nat-gateway"))
        yield Line("NAT gateways' IPv4 addresses", ZONES, address)


def _database_lines(found: Database, listed: Prices) -> Iterable[Line]:
    """An RDS instance and its storage; the price list here has no prices in two zones."""
    where = ", in two zones" if found.two_zones else ""
    storage = listed.get("db-storage")
    hourly = storage and replace(storage, usd=storage.usd / HOURS_A_MONTH, unit="GB-hour")
    yield Line(f"database, {found.size}{where}", 1, None if where else listed.get(found.size))
    yield Line(f"database's storage, GB{where}", found.gigabytes, None if where else hourly)


def _region(bench: Bench, region: str) -> str:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        region = region or bench.environ.get(name, "")
    if not region:
        bench.report.say(f"No region is set (--region, AWS_REGION): the prices are those of {REGION}.")
        return REGION
    if not _REGION.fullmatch(region):
        raise UsageError(f"{shown(region)} cannot be a region: write for example --region eu-west-1.")
    return region


def _missing(lines: Iterable[Line], listed: Prices) -> Iterable[str]:
    known = ", ".join(listed.regions)
    for line in lines:
        if not line.price and listed.items:
            yield f"no list price for {line.what} in {listed.region}"
        elif not line.price:
            yield f"no list price of anything in {listed.region}, only in {known}"


def _left_out(comparison: Comparison) -> list[str]:
    """What the sums do not have, each a sentence."""
    whose: dict[str, list[str]] = {}
    for each in (comparison.deployed, comparison.always_on):
        for left in each.left_out:
            whose.setdefault(left, []).append(each.environment)
    return [
        f"{left[0].upper()}{left[1:]}: left out of the sum ({', '.join(of)})." for left, of in whose.items()
    ]


def _oldest(*found: Estimate) -> date | None:
    """Of when the oldest price is that is in a sum."""
    dates = [line.price.as_of for each in found for line in each.lines if line.price]
    return min(dates, default=None)


def _usd(value: float | None, digits: int = 4) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _for_each(listed: Prices, item: str) -> str:
    price = listed.get(item)
    return f"{price.usd:g} USD per {price.unit}" if price else "no list price"


def _size(takes: Footprint) -> str:
    """A footprint in a few words."""
    if not takes.tasks:
        return "no task"
    spot = f"{takes.spot} of them on Spot, " if takes.spot and takes.on_demand else ""
    kind = "Fargate Spot" if takes.spot and not takes.on_demand else "Fargate"
    many = f"{takes.tasks} tasks on {kind}, {spot}each " if takes.tasks > 1 else f"{kind}, "
    address = ", a public IPv4 address" if takes.public else ""
    size = f"{takes.cpu:g} vCPU, {takes.memory:g} GB" if takes.cpu else "of unknown size"
    return f"{many}{size}{address}"


def _show(bench: Bench, comparison: Comparison) -> None:
    deployed, always_on, service = comparison.deployed, comparison.always_on, bench.settings.service
    bench.report.table(
        f"{service} in {deployed.environment}, by the list prices of {deployed.prices.region}",
        ("", "quantity", "USD", "an hour", "a month", f"until {deployed.until}"),
        _rows(deployed),
    )
    saved = "?"
    if comparison.saving is not None:
        saved = _usd(comparison.saving, 2)
        saved += "" if comparison.per_cent is None else f" ({comparison.per_cent:.0f} %)"
    bench.report.table(
        f"{service} always on, as a copy of {STAGE} with ElastiCache",
        ("", "quantity", "USD", "an hour", "a month"),
        [*_rows(always_on), (f"saved in {deployed.environment}", "", "", "", saved)],
    )


def _rows(found: Estimate) -> list[tuple[str, ...]]:
    """A table's rows; those of one that has an end have a column more."""

    def amounts(hour: float | None) -> tuple[str, ...]:
        month = None if hour is None else hour * HOURS_A_MONTH
        until = None if hour is None or found.hours is None else hour * found.hours
        return _usd(hour), _usd(month, 2), *([_usd(until, 2)] if found.hours is not None else [])

    def row(line: Line, whose: str = "") -> tuple[str, ...]:
        each = f"{line.price.usd:g} per {line.price.unit}" if line.price else "?"
        return f"{whose}{line.what}", f"{line.quantity:g}", each, *amounts(line.per_hour)

    in_all = "in all, but for what is left out" if found.left_out else "in all"
    return [
        *(row(line) for line in found.lines),
        (in_all, "", "", *amounts(found.per_hour)),
        *(row(line, "environment: ") for line in found.shared),
    ]


def _document(comparison: Comparison, assumed: list[str]) -> dict[str, object]:
    """The comparison as `--json` shows it; amounts in USD."""
    deployed = comparison.deployed
    return {
        "region": deployed.prices.region,
        "currency": "USD",
        "deployed": {
            **_estimate_document(deployed),
            "expires_at": deployed.until,
            "hours": _rounded(deployed.hours),
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
    """Without the digits that are a float's and not AWS's."""
    return None if value is None else round(value, 8)
