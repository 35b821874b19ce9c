"""Show all deployments of the test environment, with a few calls for each hundred: `invoke status`."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_testenv.core import display, documents, expiry, git, moments
from copilot_testenv.core.errors import Failed, Refused, UsageError
from copilot_testenv.core.terminal import as_json
from copilot_testenv.deploys import outcome, page_state, waking
from copilot_testenv.page import html
from copilot_testenv.state import bucket, live
from copilot_testenv.state.live import Deployment

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import DeployTarget, Settings
    from copilot_testenv.deploys.probe import Page
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.registry import DeploymentRecord, FailedDeploy, RegistryContent, Sweep

_OBJECT = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(\S*[^\s/])")
_MARK = {"made-by": "copilot-testenv-status"}  # the metadata of a page that `status` wrote to S3

SWEEP_DUE = timedelta(days=8)  # a weekly schedule that has missed a week seems to be broken


@dataclass(frozen=True)
class Row:
    """A deployment, the state of its stack (empty: settled and served), and its reason."""

    deployment: Deployment
    state: str
    why: str
    page: Page | None = None  # what it answers, where it was asked
    other_pages: Mapping[str, Page | None] = field(default_factory=dict)  # of the slot's other web services


def rows(session: Session, target: Target, book: RegistryContent) -> list[Row]:
    """Return the deployments of this workspace's service, the shared slot's first. Raises Failed."""
    settings = session.settings
    stacks = target.aws.deployments(settings.app, settings.test_env)
    states = target.aws.unsettled()
    sleeping = target.aws.sleeping(settings.app, settings.test_env)
    listed = [
        _with_sleep(row, stack, sleeping)
        for stack in stacks
        if (own := slot(settings, stack))
        and (
            row := _row(
                session, target, own, stack, _state(own, stack, states), book.deployments.get(own.service)
            )
        )
    ]
    return sorted(
        listed,
        key=lambda row: (row.deployment.isolated, row.deployment.deployed_at or "", row.deployment.service),
    )


def _state(own: Settings, stack: Stack, states: Mapping[str, str]) -> str:
    """Return the status of the slot's stack, else of another service's, while it is changed or has failed."""
    if stack.name in states:
        return states[stack.name]
    names = live.services_of(stack.tags)
    stacks = {name: f"{own.app}-{own.test_env}-{name}" for name in names}
    return next((f"{name}: {states[each]}" for name, each in stacks.items() if each in states), "")


def _with_sleep(row: Row, stack: Stack, sleeping: Collection[str] | None) -> Row:
    """Return the row with what is known of the service; what is being changed is not asleep."""
    asleep = None if sleeping is None else stack.name in sleeping and not row.state
    return replace(row, deployment=replace(row.deployment, asleep=asleep))


def slot(settings: Settings, stack: Stack) -> Settings | None:
    """Return the settings of a stack's slot; None where it is not a slot of this workspace's service.

    The stack's tags count only where the stack's name agrees with them.
    """
    service = stack.tags.get("copilot-service", "")
    slug = service.removeprefix(f"{settings.service}-")
    own = settings if service == settings.service else settings.isolated_for(slug)
    named = stack.name == own.stack_name
    if service == settings.service:
        return own if named else None
    of_branch = slug == git.slug(stack.tags.get("branch") or "?")
    return own if named and slug != service and of_branch and stack.tags.get("isolated") else None


def _row(
    session: Session, target: Target, own: Settings, stack: Stack, state: str, known: DeploymentRecord | None
) -> Row | None:
    """Return the row of a stack; None where the stack does not exist any more."""
    if known and known.branch == stack.tags.get("branch"):
        return Row(_from_records(own, stack, known), state, stack.tags.get("why", ""))
    # Not in the registry: it is being deployed, an earlier version deployed it, or it is deleted already.
    current = target.aws.stack(stack.name)
    if not current or current.status == "REVIEW_IN_PROGRESS":
        return None
    slot_session = replace(session, settings=own)
    if not current.live:
        return Row(_from_records(own, current, None), current.status, current.tags.get("why", ""))
    return Row(live.describe(slot_session, target.for_slot(own), current), "", current.tags.get("why", ""))


def _from_records(own: Settings, stack: Stack, known: DeploymentRecord | None) -> Deployment:
    """Return the deployment from the stack's tags and the registry's record."""
    return live.deployment_of(
        own,
        stack.tags,
        url=known.url if known else None,
        urls=known.urls if known else {},
        database=known.database if known else None,
        data_copied_at=known.data_copied_at if known else None,
    )


def status(session: Session, *, html: str, json: bool) -> None:
    """Show the test deployments, what their pages answer, and the deploys that have failed since.

    Warn if the schedule that deletes expired ones does not run.

    With `html`, write them as a web page to that file, or to that object of S3. Raises Failed where it cannot
    be written, Refused where the object is not such a page, UsageError for an address that names no object.
    """
    if html.startswith("s3://") and not _OBJECT.fullmatch(html):
        raise UsageError(
            f"--html {html}: write s3://BUCKET/KEY, for example s3://acme-test-status/index.html."
        )
    session.announce()
    target = session.enter(start=False)
    registry = bucket.registry(session, target) if target else None
    book = registry.read() if registry else None
    found = _asked(rows(session, target, book), session) if target and book else []
    failed = book.failed if book else {}
    now = datetime.now(UTC)
    # No schedule runs in the sandbox.
    swept = sweep_told(book.swept, found, now) if book and session.settings.target == "aws" else ""
    if html:
        note = page_note(book.swept if book else None, now) if swept else ""
        _publish(session, target, html, found, failed, note)
    if json:
        session.report.data(as_json([_document(row, failed) for row in found]))
    elif html:
        pass
    elif not target:
        session.report.say(
            "The sandbox does not run, so nothing is deployed: `invoke deploy-test --branch B`."
        )
    elif not found:
        session.report.say("Nothing is deployed: `invoke deploy-test --branch B`.")
    else:
        session.report.table(
            f"{session.settings.base} in {session.settings.test_env}",
            ("branch", "commit", "by", "URL", "expires", "data copied", "state"),
            [_cells(row, now, session.settings.target) for row in found],
        )
    _tell_failures(session, {} if html else failed)
    if swept:
        session.report.say(swept)
    if registry and book and (warning := registry.warning(book)):
        session.report.say(warning)


def _asked(found: list[Row], session: Session) -> list[Row]:
    """Return the rows with the pages of those that are live and not asleep."""
    urls = [
        url
        for row in found
        for url in (row.deployment.url, *row.deployment.more_urls.values())
        if _is_up(row)
    ]
    pages = iter(page_state.ask(urls, session.settings.target))
    return [
        replace(row, page=next(pages), other_pages={name: next(pages) for name in row.deployment.more_urls})
        if _is_up(row)
        else row
        for row in found
    ]


def _is_up(row: Row) -> bool:
    return not row.state and not row.deployment.asleep


def _document(row: Row, failed: Mapping[str, FailedDeploy]) -> dict[str, object]:
    later = failed.get(row.deployment.service)
    return {
        **asdict(row.deployment),
        "state": row.state or ("asleep" if row.deployment.asleep else "live"),
        "page": outcome.page_document(row.page),
        "other_pages": {name: outcome.page_document(page) for name, page in row.other_pages.items()},
        "failed_deploy": asdict(later) if later else None,
    }


def _tell_failures(session: Session, failed: Mapping[str, FailedDeploy]) -> None:
    for service, deploy in sorted(failed.items()):
        session.report.say(_failure_told(service, deploy))


def _failure_told(service: str, deploy: FailedDeploy) -> str:
    """Return a sentence about the last deploy to a slot, which has failed, and its reason in a line."""
    text = (
        f"The last deploy to {service} failed: {deploy.branch} at {deploy.commit[:12]}, by {deploy.by}, "
        f"{moments.told(deploy.at)}."
    )
    return f"{text}\n  {deploy.reason}" if deploy.reason else text


def _publish(
    session: Session,
    target: Target | None,
    place: str,
    found: list[Row],
    failed: Mapping[str, FailedDeploy],
    note: str,
) -> None:
    """Write the page to a file or to an object of S3."""
    settings = session.settings
    title = f"Test deployments of {settings.app} ({settings.base} in {settings.test_env})"
    cards = [_card(row, failed.get(row.deployment.service), settings.target) for row in found]
    text = html.page(cards, title=title, made_at=datetime.now(UTC), warning=note)
    if match := _OBJECT.fullmatch(place):
        _put(target, match[1], match[2], text)
    else:
        _write(Path(place), text)
    session.report.say(f"{place} shows {display.counted(len(found), 'deployment')}.")


def _put(target: Target | None, bucket_name: str, key: str, text: str) -> None:
    """Write the page to S3; replace nothing but such a page, which its metadata mark."""
    if target is None:
        raise Failed("The sandbox does not run, so it has no S3: `invoke sandbox` starts it.")
    metadata = target.aws.object_metadata(bucket_name, key)
    if metadata is not None and _MARK.items() - metadata.items():
        raise Refused(
            f"s3://{bucket_name}/{key} exists and is no page of `status`: it stays. Name another object with "
            "--html, or delete this one."
        )
    kind = {"ContentType": "text/html; charset=utf-8", "CacheControl": "no-cache"}
    target.aws.put_object(bucket_name, key, text.encode(), Metadata=_MARK, **kind)


def _write(file: Path, text: str) -> None:
    """Write the page to a draft and rename it, so that a reader never sees half of a page."""
    draft = file.with_name(f"{file.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise Failed(
            f"{file} could not be written: {error.strerror}. Name another file with --html."
        ) from error


def _card(row: Row, failed: FailedDeploy | None, target: DeployTarget) -> html.Row:
    d = row.deployment
    busy = row.state.endswith("_IN_PROGRESS")
    state = "being changed" if busy else f"failed: {row.state}" if row.state else "live"
    note = f"A later deploy, of {failed.branch} by {failed.by}, has failed." if failed else ""
    if d.asleep:
        state, asleep = "asleep", f"Its address answers 503. {waking.how(d)}"
        note = f"{asleep} {note}" if note else asleep
    elif not row.state and not all(page_state.is_usable(page, target) for page in _pages(row)):
        state = _told(row, target)
    return html.Row(
        branch=d.branch,
        url=d.url,
        more_urls=d.more_urls,
        commit=d.commit,
        deployed_by=d.deployed_by,
        deployed_at=d.deployed_at,
        expires_at=d.expires_at,
        data_copied_at=d.data_copied_at,
        why=row.why,
        note=note,
        state=state,
        isolated=d.isolated,
    )


def _cells(row: Row, now: datetime, target: DeployTarget) -> tuple[str, ...]:
    """Return the cells of a deployment; times are for people on a terminal, and ISO 8601 in a pipe."""
    d = row.deployment
    expires, copied = d.expires_at or "never", d.data_copied_at or "?"
    wakes = waking.by_itself(d) if d.asleep else ""
    if sys.stdout.isatty():
        expires, copied = moments.shown(expires, now), moments.shown(copied, now)
        wakes = moments.shown(wakes, now) if wakes else ""
    asleep = f"asleep until {wakes}" if wakes else "asleep"
    return (
        (d.branch or "?") + (f" ({row.why})" if row.why else ""),
        (d.commit or "?")[:12],
        d.deployed_by or "?",
        ", ".join((d.url or "?", *d.more_urls.values())),
        expires,
        copied,
        row.state or (asleep if d.asleep else _told(row, target)),
    )


def _pages(row: Row) -> list[Page | None]:
    return [row.page, *row.other_pages.values()]


def _told(row: Row, target: DeployTarget) -> str:
    """Return what the slot's page answers, or what another web service's does where that one is at fault."""
    if page_state.is_usable(row.page, target):
        for name, page in row.other_pages.items():
            if not page_state.is_usable(page, target):
                return f"{name}: {page_state.told(page, target)}"
    return page_state.told(row.page, target)


def page_note(swept: Sweep | None, now: datetime) -> str:
    """Return a sentence about the schedule for people who do not know these tasks; empty where it runs."""
    stays = "what has expired stays until somebody removes it."
    if not swept:
        return f"Automatic removal is not set up: {stays}"
    return f"Automatic removal has stopped: {stays}" if _is_dead(swept, now) else ""


def _is_dead(swept: Sweep, now: datetime) -> bool:
    try:
        return now - datetime.fromisoformat(swept.at) > SWEEP_DUE
    except (ValueError, TypeError):  # somebody else wrote the registry
        return True


def sweep_told(swept: Sweep | None, found: list[Row], now: datetime) -> str:
    """Return a line about the schedule: when it last ran, and a warning where it seems to be broken."""
    overdue = [row for row in found if expiry.is_over(row.deployment.expires_at, now - timedelta(days=1))]
    late = (
        f" {display.counted(len(overdue), 'deployment')} should have been removed more than a day ago."
        if overdue
        else ""
    )
    cure = f" Look at the schedule that runs `invoke teardown --expired` in CI ({documents.page('ci.md')})."
    if not swept:
        never = "`teardown --expired` has never run here, so no expired deployment is removed."
        return f"{never}{late}{cure}" if found else never
    last = f"`teardown --expired` last ran at {swept.at}, by {swept.by}."
    dead = _is_dead(swept, now)
    return f"{last}{' The schedule looks dead.' if dead else ''}{late}{cure}" if dead or late else last
