"""Look at the account, read-only, and print what would hinder a deploy: `invoke check --account`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from copilot_testenv.account import names, old, ready, room, way
from copilot_testenv.account.look import AccountFinding, Look, judged
from copilot_testenv.core import display
from copilot_testenv.core.display import counted
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.terminal import as_json, fitted

if TYPE_CHECKING:
    from copilot_testenv.session import Session, Target

OF_ENVIRONMENT = (*way.RULES, *room.RULES, *old.RULES)
"""The rules that only a test environment that exists can break."""
RULES = (*ready.RULES, *names.RULES, *OF_ENVIRONMENT)
_SANDBOX = (
    "This looks at the embedded AWS, which joins no networks and denies no connection. To look at your "
    "account: `DEPLOY_TARGET=aws invoke check --account`."
)


def check(session: Session, *, json: bool) -> None:
    """Print the findings about the account. Raises SettingsError (2) where one is an error, and Failed."""
    session.announce()
    session.check_workspace()
    target = session.enter()
    assert target is not None  # noqa: S101 - the sandbox was started if need be
    if session.settings.target == "sandbox":
        session.report.say(_SANDBOX)
    found = findings(session, target)
    if json:
        session.report.data(as_json([finding.document() for finding in found]))
    else:
        for finding in found:
            session.report.data(
                display.block(fitted(finding.told()) if sys.stdout.isatty() else str(finding))
            )
    errors = sum(finding.severity == "error" for finding in found)
    told = f"{counted(errors, 'error')}, {counted(len(found) - errors, 'warning')} about the account"
    if errors:
        raise SettingsError(f"{told}. Nothing was changed.")
    session.report.say(f"{told}. Nothing was changed." if found else "Nothing is in the way of a deploy.")


def findings(session: Session, target: Target) -> list[AccountFinding]:
    """Return the findings of all rules, errors first. Raises Failed where Copilot does not answer."""
    known = tuple(environment.name for environment in session.deployer(target).environments())
    look = Look(session, target, known)
    rules = RULES if look.is_made else [rule for rule in RULES if rule not in OF_ENVIRONMENT]
    found = {each for rule in rules for each in judged(rule, look)}
    return sorted(found, key=lambda each: (each.severity != "error", each))
