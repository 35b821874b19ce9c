"""Choose what deploys: the only place that reads DEPLOY_WITH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core.settings import CLOUDFORMATION
from copilot_testenv.deployers.by_copilot import ByCopilot

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.copilot.commands import Copilot
    from copilot_testenv.core.process import Shell
    from copilot_testenv.deployers.deployer import Deployer


def deployer(shell: Shell, copilot: Copilot, aws: Aws) -> Deployer:
    """Return what deploys, deletes and runs in the slot of the settings."""
    if copilot.settings.deploy_with == CLOUDFORMATION:
        # Imported here, because it needs boto3: a tenth of a second.
        from copilot_testenv.deployers.by_cloudformation import ByCloudFormation  # noqa: PLC0415

        return ByCloudFormation(shell, copilot, aws)
    return ByCopilot(shell, copilot)
