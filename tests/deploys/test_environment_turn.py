"""The environment's stack is changed by one run at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import environment_turn
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import Lease
from tests.fakes import FakeReport, FakeShell, Memory


@pytest.mark.parametrize(
    ("reason", "busy"),
    [
        ("HTTPListenerRule CREATE_FAILED: … Priority '49998' is currently in use (Service: …)", True),
        (
            (
                "Message returned: Stack:arn:aws:cloudformation:eu-west-1:1:stack/demo-test/7f0 is in"
                " UPDATE_COMPLETE_CLEANUP_IN_PROGRESS state and can not be updated. (Log: /aws/lambda/…)"
            ),
            True,
        ),
        ('Message returned: {"state":"FAILURE","reason":{"Stacks":[]}}', True),
        ('Message returned: {"state":"TIMEOUT","reason":"Waiter has timed out"}', True),
        (
            (
                "Stack:arn:aws:cloudformation:eu-west-1:1:stack/demo-test-web/7f0 is in"
                " UPDATE_IN_PROGRESS state and can not be updated."
            ),
            False,  # the slot's own stack: another run holds the slot
        ),
        ("Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'.", False),
    ],
)
def test_copilots_messages_of_a_busy_environment_are_known(
    settings: Settings, reason: str, *, busy: bool
) -> None:
    assert environment_turn.was_busy(settings, reason) is busy


def test_a_deploy_needs_the_environment_until_its_service_begins() -> None:
    assert not environment_turn.rules_stand(iter(["EnvControllerAction", "HTTPListenerRule"]))
    assert environment_turn.rules_stand(iter(["HTTPListenerRule", "Service"]))


class Environment(Aws):
    """An environment whose stack takes two looks to come to rest."""

    def stack(self, name: str) -> Stack:
        assert name == "demo-test"
        self.looks = getattr(self, "looks", 0) + 1
        resting = self.looks > 2
        status = "UPDATE_COMPLETE" if resting else "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
        return Stack(name, status, {}, datetime.now(UTC))


def test_a_turn_begins_when_the_environments_stack_rests_and_ends_with_its_block(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, aws, store = replace(settings, target="sandbox"), Environment({}), Memory()
    lease = Lease(store, "the environment test", "ada", "adding web")
    monkeypatch.setattr(bucket, "environment_lease", lambda *_: lease)
    session = Session(here, FakeShell({}), FakeReport(), {})
    with environment_turn.held(session, Target({}, Copilot(here, {}, here.root), aws), "adding web"):
        assert aws.looks == 3
        assert lease.holder() is not None
    assert lease.holder() is None
