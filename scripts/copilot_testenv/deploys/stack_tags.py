"""Write on a deployment's stack what it is: branch, commit, by whom, since when and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.aws.stack import tag_value
from copilot_testenv.copilot import images
from copilot_testenv.core import expiry
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Target


SLOT = "slot"  # the tag of another service's stack: the web service of the slot that it belongs to
_KEPT = ("deployed_by", "deployed_at", "planned_until")  # by an unchanged redeploy


@dataclass(frozen=True)
class StackTags:
    """The tags of a branch's deploy; `before` is the slot's stack as it was found."""

    settings: Settings
    branch: Branch
    expires: datetime
    why: str
    is_forced: bool  # new tasks are started, even if nothing changed

    def of(self, before: Stack | None, by: str) -> Mapping[str, str]:
        """Return the stack's tags; an unchanged redeploy keeps the old ones, but its expiry can move.

        `planned_until` is the expiry when the commit was deployed, which the page shows.
        """
        facts = {
            "branch": self.branch.name,
            "commit": self.branch.commit,
            "deployed_by": by,
            "deployed_at": live.iso(datetime.now(UTC)),
            "planned_until": self.expiry_tag(before),
        }
        runs = before.tags if before and before.live and not self.is_forced else {}
        if all(runs.get(name) == facts[name] for name in ("branch", "commit")):
            facts |= {name: runs.get(name, facts[name]) for name in _KEPT}
        facts["expires_at"] = self.expiry_tag(before)
        of_same = before.tags if before and before.tags.get("branch") == self.branch.name else {}
        if why := self.why or of_same.get("why"):
            facts["why"] = why
        if self.settings.hours:
            facts["hours"] = str(self.settings.hours)
        if self.settings.slug:
            facts["isolated"] = "yes"
        had = live.services_of(before.tags) if before and before.live else []  # one that is no longer named
        if names := dict.fromkeys((*(each.service for each in self.settings.others), *had)):
            facts[live.SERVICES] = " ".join(names)
        return {name: tag_value(value) for name, value in facts.items()}

    def of_other(self, service: Settings, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Return the tags of another service's stack: those of the slot's, without what the slot decides."""
        own = {name: value for name, value in tags.items() if name not in {"expires_at", live.SERVICES}}
        return {**own, SLOT: service.slot}

    def image(self, target: Target, before: Stack | None) -> str:
        """Return the tag of the image. It is new with --force, after a roll-back and after a killed teardown.

        Such a teardown has stopped the tasks, and without a new tag Copilot would find nothing to change.
        """
        ended = before and before.live and not live.alive(target, before)
        ended = ended or (before and before.status == "UPDATE_ROLLBACK_COMPLETE")
        more = f"-{datetime.now(UTC):%Y%m%d%H%M%S}" if self.is_forced or ended else ""
        return images.tag(self.settings.test_env, self.branch.commit, more)

    def expiry(self, before: Stack | None) -> datetime | None:
        """Return when the deployment expires, not earlier than `extend` has set; None where it never does."""
        tags = before.tags if before and before.live else {}
        had = tags.get("expires_at") if tags.get("branch") == self.branch.name else None
        return expiry.later(had, self.expires)

    def expiry_tag(self, before: Stack | None) -> str:
        """Return the value of the tag `expires_at`."""
        expires = self.expiry(before)
        return live.iso(expires) if expires else expiry.KEPT
