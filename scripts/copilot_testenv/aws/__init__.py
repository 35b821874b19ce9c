"""Query and change AWS. With DEPLOY_WITH=copilot, services are changed through Copilot alone."""

from __future__ import annotations

import functools

from copilot_testenv.aws.changes import Changes
from copilot_testenv.aws.images import Images
from copilot_testenv.aws.inventory import Inventory
from copilot_testenv.aws.logs import Logs
from copilot_testenv.aws.network import Network
from copilot_testenv.aws.scaling import Scaling
from copilot_testenv.aws.stored import Stored


class Aws(Scaling, Changes, Logs, Images, Network, Inventory, Stored):
    """Call AWS with one set of credentials; each base class covers some of AWS's services."""

    @functools.cached_property
    def home(self) -> Aws:
        """The same for the region of Copilot's own records: the region in the user's configuration."""
        if not self._region:
            return self
        configured = Aws(self.env)
        return self if configured.region == self.region else configured

    def in_role(self, role: str) -> Aws:
        """Return the same AWS with the rights of a role, which is assumed at the first call."""
        return Aws(self.env, self._region, functools.partial(self._assumed, role))
