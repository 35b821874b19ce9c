"""Estimate the costs of a test deployment, and of an always-on copy of stage, by AWS's list prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.resource_usage import Footprint, footprint, shown
from copilot_testenv.core import moments
from copilot_testenv.costs import prices
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.copilot.addons import Database
    from copilot_testenv.core.office_hours import OfficeHours
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.costs.prices import Price, Prices
    from copilot_testenv.session import Session

HOURS_A_MONTH = 730  # as https://calculator.aws has it
STAGE = "stage"
CACHE_NODE = "cache.t4g.micro"
# A load balancer has an address, and a private network a NAT gateway, in each of the two zones that an
# environment has by default. Source: internal/pkg/deploy/cloudformation/stack/env.go of aws/copilot-cli 1.34.
ZONES = 2


@dataclass(frozen=True)
class Line:
    """A quantity of something with its list price per unit and hour; `price` is None if it is not known."""

    what: str
    quantity: float
    price: Price | None

    @property
    def per_hour(self) -> float | None:
        return self.quantity * self.price.usd if self.price else None


@dataclass(frozen=True)
class Estimate:
    """The costs of a service in an environment, in USD. `shared` is the environment's and not in the sums."""

    environment: str
    prices: Prices
    takes: Footprint
    lines: tuple[Line, ...]
    shared: tuple[Line, ...]
    hours: float | None  # until it expires; None if it never does
    until: str | None
    left_out: tuple[str, ...]
    database: Database | None = None  # the environment's own
    awake: OfficeHours | None = None  # outside them no task runs; None: it never sleeps
    running: float | None = None  # the hours until it expires in which tasks run
    others: tuple[str, ...] = ()  # the other services of the slot, whose tasks are among the lines

    @property
    def per_hour(self) -> float | None:
        """Return the sum of the lines with a known price; None if everything is left out."""
        known = [line.per_hour for line in self.lines if line.per_hour is not None]
        return sum(known) if known or not self.left_out else None

    @property
    def until_end(self) -> float | None:
        return self._times(self.running)

    @property
    def per_month(self) -> float | None:
        return self._times(self.hours_a_month)

    @property
    def hours_a_month(self) -> float:
        """Return the hours of a month in which its tasks run."""
        return HOURS_A_MONTH * (self.awake.part if self.awake else 1)

    def _times(self, hours: float | None) -> float | None:
        return None if self.per_hour is None or hours is None else self.per_hour * hours


@dataclass(frozen=True)
class Comparison:
    """A deployment, compared with the same service always on: a copy of stage with an ElastiCache node."""

    deployed: Estimate
    always_on: Estimate
    node: str

    @property
    def saving(self) -> float | None:
        """Return the saving in USD a month; None if one of the two estimates leaves something out."""
        deployed, always_on = self.deployed, self.always_on
        if (
            deployed.left_out
            or always_on.left_out
            or deployed.per_month is None
            or always_on.per_month is None
        ):
            return None
        return always_on.per_month - deployed.per_month

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
    awake: OfficeHours | None = None,
    running: float | None = None,
    others: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Estimate:
    """Return the costs of a manifest's service in the environment `name`, for `hours` or without an expiry.

    `until` is the expiry in words, `database` the environment's own. With office hours, `awake`, its tasks
    run for `running` of the hours. `others` are the manifests of the slot's other services. Nothing is
    raised: `left_out` names what has no price.
    """
    takes = footprint(found, name)
    lines = list(_task_lines(takes, listed))
    footprints = {other: footprint(content, name) for other, content in others.items()}
    for other, taken in footprints.items():
        lines += [replace(line, what=f"{other}: {line.what}") for line in _task_lines(taken, listed)]
    more = [f"{other}: {reason}" for other, taken in footprints.items() for reason in taken.left_out]
    shared = (*_shared_lines(takes, listed), *(_database_lines(database, listed) if database else ()))
    left_out = dict.fromkeys((*takes.left_out, *more, *_missing((*lines, *shared), listed)))
    running = running if awake else hours
    return Estimate(
        name,
        listed,
        takes,
        tuple(lines),
        shared,
        hours,
        until,
        tuple(left_out),
        database,
        awake,
        running,
        tuple(others),
    )


def compare(
    found: Mapping[str, Any],
    deployed: Estimate,
    node: str = CACHE_NODE,
    others: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Comparison:
    """Compare a deployment with stage's block of the same manifest and one ElastiCache node, all month."""
    copy = estimate(found, STAGE, deployed.prices, hours=None, others=others)
    price = deployed.prices.get(node) if node.startswith("cache.") else None
    line = Line(f"ElastiCache, {node if price else shown(node)}", 1, price)
    left_out = dict.fromkeys((*copy.left_out, *_missing((line,), deployed.prices)))
    return Comparison(deployed, replace(copy, lines=(*copy.lines, line), left_out=tuple(left_out)), node)


def short(found: Estimate) -> str:
    """Return the estimate in one line, for a plan and for a receipt."""
    if found.per_hour is None:
        return f"The costs are not known: {found.left_out[0]}."
    verb, total = "Costs", f"{found.per_month:.2f} USD a month"
    if found.until_end is not None:
        verb = verb if found.until else "Cost"
        span = f"until {found.until}" if found.until else f"in {found.running or 0:.0f} h"
        total = f"{found.until_end:.2f} USD {span}"
    without = f"; left out: {'; '.join(found.left_out)}" if found.left_out else ""
    since = f", the oldest of {first}" if (first := oldest(found)) else ""
    hour = "an hour" if not found.awake else f"an hour while awake ({found.awake})"
    beside = f"; and {', '.join(found.others)}" if found.others else ""
    return (
        f"{verb} some {usd(found.per_hour, 3)} USD {hour} ({_size(found.takes)}{beside}), {total}; "
        f"list prices of {found.prices.region}{since}{without}."
    )


def of_deployment(
    session: Session,
    region: str,
    until: datetime | None,
    since: datetime | None = None,
    awake: OfficeHours | None = None,
) -> str:
    """Return a deployment's costs in one line: until it expires, or with `since`, since it was deployed.

    The first is by the settings' office hours, the second by `awake`: those that it was deployed with. What
    somebody woke or let sleep besides is not known.
    """
    settings = session.settings
    written = manifest.read(settings.manifest)
    awake = awake if since else settings.hours
    end = datetime.now(UTC) if since else until
    begin = since or datetime.now(UTC)
    hours = (end - begin).total_seconds() / 3600 if end else None
    running = awake.within(begin, end) if awake and end else None
    end_name = moments.told(live.iso(until)) if until and not since else None
    found = estimate(
        written,
        settings.test_env,
        prices.load(region),
        hours=hours,
        until=end_name,
        awake=awake,
        running=running,
        others=manifests_of_others(settings),
    )
    return short(found)


def manifests_of_others(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the manifests of the slot's other services, as far as the workspace has them."""
    return {own.base: manifest.read(own.manifest) for own in settings.others if own.manifest.is_file()}


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
    """Yield the lines of an RDS instance and its storage; prices.json has no prices for two zones."""
    where = ", in two zones" if found.two_zones else ""
    storage = listed.get("db-storage")
    hourly = storage and replace(storage, usd=storage.usd / HOURS_A_MONTH, unit="GB-hour")
    yield Line(f"database, {found.size}{where}", 1, None if where else listed.get(found.size))
    yield Line(f"database's storage, GB{where}", found.gigabytes, None if where else hourly)


def _missing(lines: Iterable[Line], listed: Prices) -> Iterable[str]:
    known = ", ".join(listed.regions)
    for line in lines:
        if not line.price and listed.items:
            yield f"no list price for {line.what} in {listed.region}"
        elif not line.price:
            yield f"no list price of anything in {listed.region}, only in {known}"


def oldest(*found: Estimate) -> date | None:
    """Return the date of the oldest price used in a sum; None if there is no price."""
    dates = [line.price.as_of for each in found for line in each.lines if line.price]
    return min(dates, default=None)


def usd(value: float | None, digits: int = 4) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _size(takes: Footprint) -> str:
    """Return a footprint in a few words."""
    if not takes.tasks:
        return "no task"
    spot = f"{takes.spot} of them on Spot, " if takes.spot and takes.on_demand else ""
    kind = "Fargate Spot" if takes.spot and not takes.on_demand else "Fargate"
    many = f"{takes.tasks} tasks on {kind}, {spot}each " if takes.tasks > 1 else f"{kind}, "
    address = ", a public IPv4 address" if takes.public else ""
    size = f"{takes.cpu:g} vCPU, {takes.memory:g} GB" if takes.cpu else "of unknown size"
    return f"{many}{size}{address}"
