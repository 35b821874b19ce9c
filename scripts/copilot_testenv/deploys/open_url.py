"""Print a deployment's URL, and open it in the user's browser: `invoke open`."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from copilot_testenv.copilot import ownership
from copilot_testenv.core.errors import Failed, UsageError
from copilot_testenv.deploys import nothing, slot_services, waking
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.session import Session

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")  # without one a browser would take the terminal
_SO = ", so there is no URL"


def open_url(
    session: Session, name: str, service: str = "", *, browse: Callable[[str], object] = webbrowser.open
) -> None:
    """Print the URL of a branch's deployment; open it where a person sits at a screen.

    With `service` it is that of another web service of the slot. Raises Failed where nothing is deployed, or
    its URL is not known, UsageError for a service that the slot does not have.
    """
    session.announce()
    target = session.enter(start=False)
    if not target:
        raise nothing.deployed(session, target, _SO)
    session, target = session.slot_of(target, name)
    stack = target.aws.stack(session.settings.stack_name)
    ownership.require_ours(stack, session.settings)
    if not stack or not stack.live:
        raise nothing.deployed(session, target, _SO)
    own, _ = slot_services.chosen(session, target, service)
    url = (
        target.aws.address(own.settings.stack_name)
        if own.settings.web
        else live.url_of(session, target, stack)
    )
    if own.settings.web and not url:
        raise UsageError(f"--service {service}: {own.settings.service} is no web service, so it has no URL.")
    if not url:
        raise Failed(f"The URL of {session.settings.service} is not known: `copilot svc show` has it.")
    if target.aws.desired_count(stack.name) == 0:
        sleeping = live.deployment_of(session.settings, stack.tags)
        session.report.say(f"{sleeping.branch or '?'} sleeps. {waking.how(sleeping)}")
    session.report.data(url)
    if has_screen(session.environ) and url.startswith(("http://", "https://")):
        browse(url)


def has_screen(environ: Mapping[str, str], *, platform: str = sys.platform) -> bool:
    """Return True if a browser can be opened: on a terminal with a screen, and not in CI."""
    seen = platform in {"darwin", "win32"} or any(environ.get(name) for name in _DISPLAYS)
    return seen and sys.stdout.isatty() and not environ.get("CI")
