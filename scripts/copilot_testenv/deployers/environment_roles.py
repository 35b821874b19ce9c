"""Find the roles with which Copilot changes an environment's stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Target


def assumed(target: Target, settings: Settings) -> tuple[Aws, str]:
    """Return AWS with the environment's manager role, and the ARN of CloudFormation's role there.

    So the tasks' own role needs no right to read or change templates. Raises Failed.
    """
    name = f"{settings.app}-{settings.test_env}"
    outputs = target.aws.outputs(name)
    manager, execution = outputs.get("EnvironmentManagerRoleARN"), outputs.get("CFNExecutionRoleARN")
    if not manager or not execution:
        raise Failed(f"The stack {name} has no output for the role that changes services.")
    return target.aws.in_role(manager), execution
