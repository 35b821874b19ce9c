"""The release of before comes back as CloudFormation was given it, with the environment's role."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot import disposable
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers import previous_release
from copilot_testenv.deployers.previous_release import Release
from copilot_testenv.deployers.stack_changes import StackChanges
from copilot_testenv.session import Target

ROLES = {"EnvironmentManagerRoleARN": "manager", "CFNExecutionRoleARN": "execution"}
RELEASE = Release("demo-test-web", "Resources: {}", {"EnvName": "test"}, {"branch": "feature+2f+x"})


class Account(Aws):
    """An account with one stack."""

    roles: Mapping[str, str] = ROLES
    uploaded: tuple[str, bytes] = ("", b"")

    def stack(self, name: str) -> Stack:
        return Stack(name, "UPDATE_COMPLETE", {}, datetime.now(UTC))

    def outputs(self, stack: str) -> dict[str, str]:
        assert stack == "demo-test"
        return dict(self.roles)

    def in_role(self, role: str) -> Account:
        assert role == "manager"
        return self

    def application_bucket(self, app: str) -> str:  # type: ignore[override]  # there it is cached
        return f"bucket-of-{app}"

    def has_object(self, bucket: str, key: str) -> bool:
        assert (bucket, key.partition("/")[0]) == ("bucket-of-demo", "manual")
        return False

    def put_object(self, bucket: str, key: str, body: bytes, **_: Any) -> None:
        assert bucket == "bucket-of-demo"
        self.uploaded = key, body

    def release(self, stack: str) -> tuple[str, dict[str, str], dict[str, str]]:
        assert stack == "demo-test-web"
        return RELEASE.template, dict(RELEASE.parameters), dict(RELEASE.tags)


def target(settings: Settings, aws: Aws, *, marked: bool = True) -> Target:
    mark = disposable.value("demo", "test") if marked else ""
    return Target({}, Copilot(settings, {}, settings.root, mark), aws)


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what was given to CloudFormation."""
    given: list[Any] = []

    def apply(changes: StackChanges, *arguments: Any) -> Result:
        given[:] = [changes.execution_role, *arguments]
        return (
            Result(0) if arguments[2] else Result(1, "The stack demo-test-web is UPDATE_ROLLBACK_COMPLETE.")
        )

    monkeypatch.setattr(StackChanges, "apply", apply)
    return given


def test_a_release_comes_back_with_its_template_parameters_and_tags(
    settings: Settings, applied: list[Any]
) -> None:
    aws = Account({}, "eu-west-1")
    there = target(settings, aws)
    found = previous_release.of(there, settings)
    assert found == RELEASE
    previous_release.bring_back(there, settings, found)
    key, body = aws.uploaded
    assert (key.rsplit("/", 1)[0], body) == ("manual/templates/demo-test-web", b"Resources: {}")
    role, stack, url, parameters, tags, before, _ = applied
    assert (role, stack, parameters, tags) == ("execution", "demo-test-web", RELEASE.parameters, RELEASE.tags)
    assert url.endswith(key)
    assert before.name == "demo-test-web"


def test_what_cloudformation_refuses_is_told(settings: Settings, applied: list[Any]) -> None:
    with pytest.raises(Failed, match="is UPDATE_ROLLBACK_COMPLETE"):
        previous_release.bring_back(
            target(settings, Account({}, "eu-west-1")), settings, Release("demo-test-web", "", {}, {})
        )
    assert applied


def test_nothing_is_changed_without_the_mark_or_the_environments_role(
    settings: Settings, applied: list[Any]
) -> None:
    with pytest.raises(Refused):
        previous_release.bring_back(target(settings, Account({}), marked=False), settings, RELEASE)
    aws = Account({})
    aws.roles = {}
    with pytest.raises(Failed, match="demo-test has no output for the role"):
        previous_release.of(target(settings, aws), settings)
    assert applied == []
