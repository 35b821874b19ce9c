"""What these tasks ask AWS themselves; whatever changes a service goes through Copilot."""

from __future__ import annotations

import functools

from scripts.aws.images import Images
from scripts.aws.logs import Logs
from scripts.aws.services import Services
from scripts.aws.stored import Stored


class Aws(Services, Logs, Images, Stored):
    """The few things we ask AWS ourselves; whatever changes something goes through Copilot."""

    @functools.cached_property
    def home(self) -> Aws:
        """The same in the region where Copilot keeps its records, which is that of the user's settings."""
        if not self._region:
            return self
        there = Aws(self.env)
        return self if there.region == self.region else there
