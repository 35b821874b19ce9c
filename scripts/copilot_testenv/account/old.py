"""Rules on what is outdated or left over in the account, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from copilot_testenv.account.look import AccountFinding, Look
from copilot_testenv.aws.stack import UNSETTLED
from copilot_testenv.copilot import images, runtimes
from copilot_testenv.core import documents, expiry
from copilot_testenv.core.display import counted
from copilot_testenv.costs import prices
from copilot_testenv.costs.estimate import estimate
from copilot_testenv.state import live

_FOLDER = "test-environments/"  # of these tasks' objects in the application's bucket
_GB = 1024.0**3
_LONGEST = 64  # letters of a function's name
_STORED = 0.01  # GB: less than this is not worth a line


def runtime(look: Look) -> Iterator[AccountFinding]:
    """Find Lambda functions of the application's live stacks whose runtime AWS does not support any more."""
    today = datetime.now(UTC).date()
    prefix = f"{look.settings.app}-"
    found = Counter(
        (name.rpartition("-")[0].rpartition("-")[0] or name, kind)
        for name, kind in look.aws.function_runtimes(prefix).items()
        if runtimes.why_outdated(kind, today)
    )
    for (stack, kind), number in sorted(found.items()):
        refused = runtimes.is_refused(kind, today)
        yield AccountFinding(
            "runtime",
            "error" if refused else "warning",
            f"{counted(number, 'function')} of {stack} run on {kind}",
            runtimes.why_outdated(kind, today),
            "write the patches with `invoke check --fix`, then deploy that stack once (copilot env deploy, "
            "or copilot deploy for a service's)",
        )


def expired(look: Look) -> Iterator[AccountFinding]:
    """Find deployments that have expired and still run."""
    settings, now = look.settings, datetime.now(UTC)
    ended = [
        stack
        for stack in look.aws.deployments(settings.app, look.test)
        if expiry.is_over(stack.tags.get("expires_at"), now)
    ]
    if not ended:
        return
    costs = estimate(look.manifest, look.test, prices.load(look.aws.region), hours=None)
    each = costs.per_month
    price = f"some {each * len(ended):.2f} USD a month" if each is not None else "their tasks"
    names = ", ".join(sorted(stack.tags.get("copilot-service", stack.name) for stack in ended))
    yield AccountFinding(
        "left-over",
        "warning",
        f"{counted(len(ended), 'deployment')} expired and still run: {names}",
        f"they cost {price}; a schedule that removes them does not run, or fails",
        f"invoke teardown --expired, and see to the schedule ({documents.page('ci.md')})",
    )


def stacks(look: Look) -> Iterator[AccountFinding]:
    """Find stacks of one-off tasks without a service, and services whose stack has failed."""
    settings, aws = look.settings, look.aws
    begin = f"{settings.app}-{look.test}-"
    services = look.service_stacks
    for name in sorted(aws.task_stacks(settings.app, look.test)):
        service = live.service_of_task_stack(settings, name)
        if service and f"{begin}{service}" not in services:
            yield AccountFinding(
                "left-over",
                "warning",
                f"the stack {name} belongs to a deployment that is gone",
                f"its image repository costs {_price(look, 'images')}",
                "invoke teardown --orphans",
            )
    for name, status in sorted(aws.unsettled().items()):
        if name.startswith(begin) and status in UNSETTLED and not status.endswith("IN_PROGRESS"):
            yield AccountFinding(
                "left-over",
                "warning",
                f"the stack {name} is {status}",
                "it serves nothing, and what is left of it may cost",
                "invoke teardown, with --branch for a branch's own slot",
            )


def storage(look: Look) -> Iterator[AccountFinding]:
    """Find log groups without a stack, images without a tag, and old versions of these tasks' objects."""
    settings, aws = look.settings, look.aws
    begin = f"{settings.app}-{look.test}-"
    services = look.service_stacks
    groups = {
        name: size
        for prefix in (f"/copilot/{begin}", f"/aws/lambda/{begin}")
        for name, size in aws.log_groups(prefix).items()
        if not _of(name, services)
    }
    if groups:
        yield AccountFinding(
            "left-over",
            "warning",
            f"{counted(len(groups), 'log group')} of no deployment, such as {min(groups)}",
            f"{sum(groups.values()) / _GB:.2f} GB are stored; AWS charges for each GB and month",
            "delete them: aws logs delete-log-group --log-group-name NAME",
        )
    untagged = aws.untagged_images(images.repository(settings))
    if untagged.size / _GB > _STORED:
        yield AccountFinding(
            "left-over",
            "warning",
            f"{counted(untagged.number, 'image')} without a tag in {images.repository(settings)}",
            f"{untagged.size / _GB:.2f} GB at most, {_price(look, 'images', untagged.size)}",
            "give the repository a lifecycle rule that expires untagged images "
            f"({documents.page('costs.md')})",
        )
    bucket = aws.application_bucket(settings.app) if look.is_made else ""
    old = aws.old_versions(bucket, _FOLDER) if bucket else None
    if old and old.size / _GB > _STORED:
        yield AccountFinding(
            "left-over",
            "warning",
            f"{counted(old.number, 'old version')} of leases and registries in {bucket}",
            f"{old.size / _GB:.2f} GB; S3 keeps each version of an object",
            f"give the bucket a lifecycle rule for {_FOLDER} ({documents.page('costs.md')})",
        )


def _of(group: str, services: set[str]) -> bool:
    """Return True if a log group belongs to one of the services' stacks, or to its one-off task.

    A function's name is its stack's, its own in the template and random letters, 64 in all: the first is cut.
    """
    folder, _, name = group.rpartition("/")
    if folder == "/copilot":
        return name in services or name.removesuffix("-copy-db") in services
    stack = name.rsplit("-", 2)[0]
    return stack in services or (len(name) == _LONGEST and any(each.startswith(stack) for each in services))


def _price(look: Look, item: str, size: int = 0) -> str:
    """Return the price of an item, or of so many bytes of it, in words."""
    listed = prices.load(look.aws.region).get(item)
    if listed is None:
        return "a price that is not listed for this region"
    if size:
        return f"{size / _GB * listed.usd:.2f} USD a month"
    return f"{listed.usd:g} USD per {listed.unit}"


RULES = (runtime, expired, stacks, storage)
