"""Let one run at a time change the environment's stack, and know Copilot's messages of one that is busy.

A first deploy of a service, and its deletion, change the environment's stack by Lambda functions of Copilot.
They wait only while the stack is UPDATE_IN_PROGRESS, and fail in each other state of an update. Listener
rules get the lowest priority minus one, without a lock. Sources: github.com/aws/copilot-cli 1.34,
cf-custom-resources/lib/env-controller.js and alb-rule-priority-generator.js; aws/copilot-cli#4568.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed
from copilot_testenv.core.polling import until
from copilot_testenv.core.terminal import Patience
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

_SECONDS = 1800.0  # for an update of the environment that another program has begun
_BUSY = (
    r"Priority '?\d+'? is currently in use"
    r"|:stack/{app}-{env}/\S* is in \S+ state and can not be updated"
    r'|Waiter has timed out|"state": ?"(FAILURE|TIMEOUT)"'  # of the function's wait for another's update
)
_AFTER_RULES = "Service"
"""The ECS service in Copilot's template. It depends on all listener rules, so they stand when it begins.

Source: internal/pkg/template/templates/workloads/services/lb-web/cf.yml of aws/copilot-cli 1.34.
"""


def rules_stand(resources: Iterable[str]) -> bool:
    """Return True if a deploy whose events name these resources needs the environment no longer."""
    return _AFTER_RULES in resources


def was_busy(settings: Settings, reason: str) -> bool:
    """Return True if a deploy or deletion failed for this reason because another one met it."""
    return bool(re.search(_BUSY.format(app=settings.app, env=settings.test_env), reason))


def stack_name(settings: Settings) -> str:
    """Return the name of the environment's own stack."""
    return f"{settings.app}-{settings.test_env}"


def at_rest(session: Session, target: Target) -> Stack | None:
    """Return the environment's stack once CloudFormation has stopped changing it, or after half an hour."""
    name = stack_name(session.settings)
    return until(
        lambda: target.aws.stack(name),
        lambda stack: not (stack and stack.changing),
        seconds=_SECONDS,
        every=0.5 if session.settings.target == "sandbox" else 10,
        tell=Patience(session.report.say, f"the stack {name} is being changed").tell,
    )


@contextmanager
def held(session: Session, target: Target, doing: str) -> Iterator[Lease]:
    """Hold the environment's lease in this block, which begins when nothing changes the environment's stack.

    Raises Failed where something else changes the stack for half an hour.
    """
    with bucket.environment_lease(session, target, doing).held(wait=True, say=session.report.say) as lease:
        environment = at_rest(session, target)
        if environment and environment.changing:
            raise Failed(
                f"Nothing was changed, because the environment's stack {environment.name} has been "
                f"{environment.status} for half an hour: look at it in the CloudFormation console, then run "
                "this again."
            )
        yield lease
