from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Container, Task
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.unwritten_migrations import told
from copilot_testenv.session import Session, Target
from tests.fakes import FakeReport, FakeShell

SAID = (
    "  No migrations to apply.",
    "  Your models in app(s): 'shop', 'blog' have changes that are not yet reflected in a migration, and so",
)


@dataclass
class Place:
    aws: Aws


class Played(Aws):
    def __init__(self, *lines: str) -> None:
        super().__init__({})
        self.lines = list(lines)

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert group in {"/copilot/demo-test-web", "/copilot/demo-test-web-feature-x"}
        assert stream == "copilot/startup/a"
        assert limit
        if not self.lines:
            raise Failed("the log group is not there")
        return self.lines


@pytest.mark.parametrize(
    ("lines", "begins"),
    [
        (SAID, "Models of shop, blog have changes without a migration"),
        (SAID[:1], ""),
        ((), ""),  # the log cannot be read: the deploy is as good
    ],
)
def test_models_without_a_migration_are_named_by_the_log(
    settings: Settings, lines: tuple[str, ...], begins: str
) -> None:
    containers = (
        Container("startup", "STOPPED", 0, ""),
        Container("web", "RUNNING", None, ""),
    )
    task = Task("a", "RUNNING", "HEALTHY", "arn:1", None, "", containers)
    place = cast("Target", Place(Played(*lines)))
    session = Session(settings, FakeShell(), FakeReport(), {})
    found = told(session, place, "feature/x", [task])
    assert found.startswith(begins)
    assert bool(found) is bool(begins)
    assert "--branch" not in found
    isolated = replace(session, settings=settings.isolated_for("feature-x"))
    if begins:  # without the branch, `exec` would ask the shared slot's
        assert "`invoke exec --branch feature/x --manage " in told(isolated, place, "feature/x", [task])
