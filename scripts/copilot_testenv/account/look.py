"""Define the run that a rule of `check --account` looks at, and its findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from copilot_testenv.copilot import manifest
from copilot_testenv.core import documents
from copilot_testenv.core.errors import UserError

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target

RIGHTS = documents.page("iam/check-account.json")
_STAGING = re.compile("sta?g", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class AccountFinding:
    """An error or warning about the account: what is wrong, why that matters, and what to do instead."""

    rule: str
    severity: Literal["error", "warning"]
    what: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.severity}: {self.what}: {self.why}: {self.instead}"

    def told(self) -> str:
        """Return the finding for a person on a terminal: in a block."""
        return f"{self.rule}: {self.severity}\n  {self.what}\n  why: {self.why}\n  do: {self.instead}\n"

    def document(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Look:
    """A run's session and target; `environments` are those that Copilot knows."""

    session: Session
    target: Target
    environments: tuple[str, ...]

    @property
    def aws(self) -> Aws:
        return self.target.aws

    @property
    def settings(self) -> Settings:
        return self.session.settings

    @property
    def test(self) -> str:
        return self.settings.test_env

    @property
    def is_made(self) -> bool:
        """True if Copilot knows the test environment."""
        return self.test in self.environments

    @property
    def stack(self) -> str:
        """The name of the test environment's own stack."""
        return f"{self.settings.app}-{self.test}"

    @cached_property
    def exports(self) -> Mapping[str, str]:
        """The values that the stacks of this region export."""
        return self.aws.exports()

    def export(self, environment: str, name: str) -> str:
        """Return a value that an environment's stack exports; empty where it has none."""
        return self.exports.get(f"{self.settings.app}-{environment}-{name}", "")

    @cached_property
    def service_stacks(self) -> set[str]:
        """The names of the stacks of the test environment's services."""
        return {stack.name for stack in self.aws.service_stacks(self.settings.app, self.test)}

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        return manifest.read(self.settings.manifest)

    @property
    def staging(self) -> list[str]:
        """The environments that are called staging."""
        return [name for name in self.environments if _STAGING.match(name) and name != self.test]


Rule = Callable[[Look], Iterator[AccountFinding]]


def judged(rule: Rule, look: Look) -> list[AccountFinding]:
    """Return a rule's findings; one that says so where the rule could not be judged to its end."""
    found: list[AccountFinding] = []
    try:
        found.extend(rule(look))
    except UserError as error:
        name = rule.__name__.strip("_").replace("_", "-")
        reason = str(error).rstrip(".")
        found.append(
            AccountFinding(
                name,
                "warning",
                "this could not be looked at",
                reason,
                f"run it with a role that has the rights of {RIGHTS}",
            )
        )
    return found
