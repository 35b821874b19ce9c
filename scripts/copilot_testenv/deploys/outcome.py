"""Tell what became of a deploy: the terminal, `--json`, later steps of CI and the pull request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.ci import outputs, pull_request
from copilot_testenv.ci.pull_request import Message
from copilot_testenv.core import expiry, moments
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.terminal import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_testenv.core.git import Branch
    from copilot_testenv.deploys.probe import Page
    from copilot_testenv.session import Session
    from copilot_testenv.state import live


@dataclass(frozen=True)
class Served:
    """A deployment that ECS calls healthy, with its page; `wrong` is a text where nobody can use it.

    `ended` are the containers of the branch's other services that have ended.
    """

    deployment: live.Deployment
    page: Page
    wrong: str = ""
    ended: tuple[str, ...] = ()


def together(served: Served, others: Sequence[Served]) -> Served:
    """Return the slot's deployment with the addresses of its other web services, and what is wrong first."""
    urls = dict(served.deployment.urls)
    for other in others:
        urls |= other.deployment.urls
    wrong = next((each.wrong for each in (served, *others) if each.wrong), "")
    return replace(served, deployment=replace(served.deployment, urls=urls), wrong=wrong)


def document(deployment: live.Deployment, page: Page | None, ended: Sequence[str] = ()) -> str:
    """Return the JSON of a deployment with its page; `page` is null where none was opened."""
    return as_json({**asdict(deployment), "page": page_document(page), "ended": list(ended)})


def page_document(page: Page | None) -> dict[str, object] | None:
    return {"url": page.url, "status": page.status, "fault": page.fault} if page else None


def message_of(known: live.Deployment) -> Message:
    """Return what the pull request of a deployment says."""
    return Message(known.branch or "", known.commit, known.url, known.expires_at, known.service, known.hours)


def tell(
    session: Session, branch: Branch, served: Served, displaced: Message | None, *, seconds: float, json: bool
) -> None:
    """Tell the outcome; `displaced` is the deployment that it replaced. Raises Failed if nobody can use it.

    An error of the CI system does not fail the deploy.
    """
    report, environ, known = session.report, session.environ, served.deployment
    what = f"{branch.name} at {branch.commit[:12]} is"
    if not served.wrong:
        until = f"until {moments.told(known.expires_at)}" if known.expires_at else "until it is torn down"
        awake = f", awake {known.hours}" if known.hours else ""
        report.say(f"{what} served ({seconds:.1f} s), {until}{awake}:")
    if json:
        report.data(document(known, served.page, served.ended))
    elif not served.wrong:
        report.data(known.url or "")
    for name, url in known.more_urls.items() if not served.wrong else ():
        report.say(f"{name}: {url}")
    values = {"url": known.url, "service": known.service, "expires_at": known.expires_at}
    values["auto_stop_in"] = expiry.auto_stop_in(known.expires_at, datetime.now(UTC))
    outputs.outputs(environ, {name: value for name, value in values.items() if value}, report.say)
    for message in (displaced, message_of(known) if known.url and not served.wrong else None):
        if message:
            pull_request.tell(environ, message, report.say)
    if served.wrong:
        raise Failed(f"{what} deployed and stays so, but does not work: {served.wrong}")


def tell_unchanged(session: Session, served: live.Deployment) -> None:
    """Tell that a deployment has the commit already, and was left as it is."""
    settings = session.settings
    session.report.say(
        f"Unchanged: {settings.service} in {settings.test_env} already runs this commit, so no task was "
        f"started, and its data is still of {moments.told(served.data_copied_at)}. For fresh data: "
        "`invoke copy-db`; for new tasks: --force."
    )
