"""Ask AWS the few things that Copilot does not tell; a service is changed through Copilot alone."""

from __future__ import annotations

import functools

from copilot_testenv.aws.images import Images
from copilot_testenv.aws.logs import Logs
from copilot_testenv.aws.services import Services
from copilot_testenv.aws.stored import Stored


class Aws(Services, Logs, Images, Stored):
    """Ask AWS with one set of credentials; see the classes it is made of for each service."""

    @functools.cached_property
    def home(self) -> Aws:
        """Return the same in the region where Copilot keeps its records: that of the user's settings."""
        if not self._region:
            return self
        there = Aws(self.env)
        return self if there.region == self.region else there
