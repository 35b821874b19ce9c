"""A teardown runs against an AWS that a test plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot import application
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import copy_db
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket, live
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import DeploymentRecord, Registry
from tests.deploys.teardowns import KNOWN, Deleting, Played, Scene
from tests.fakes import FakeReport, Memory


@pytest.fixture
def scene(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    def make(*stacks: Stack, **more: Any) -> Scene:
        aws = Played({each.name: each for each in stacks}, **more)
        shell = Deleting(KNOWN)
        shell.aws = aws
        registry = Registry(Memory())
        for each in stacks:
            if each.tags.get("isolated"):
                registry.record(
                    each.tags["copilot-service"], DeploymentRecord(each.tags["branch"], isolated=True)
                )
        made = Scene(Session(settings, shell, FakeReport(), {}), aws, registry, [], [])

        def discard(session: Session, *_: Any) -> bool:
            if session.settings.service in made.leases:
                made.leases.remove(session.settings.service)
            return session.settings.service not in made.held

        def withdraw(own: Settings, *_: Any) -> list[str]:
            made.withdrawn.append(own.service)
            return [f"repository demo/{own.service}"]

        def drop_own(session: Session, *_: Any) -> list[str]:
            made.dropped.append(session.settings.service)
            return [f"test{session.settings.database_suffix}"]

        def drop_several(session: Session, target: Target, host: Any, slots: Any) -> dict[str, list[str]]:
            made.together.append([each.service for each in slots])
            own = [replace(session, settings=each) for each in slots]
            return {each.settings.service: copy_db.drop_own(each, target, host) for each in own}

        here = Target({}, Copilot(settings, {}, settings.root), aws)
        monkeypatch.setattr(Session, "enter", lambda *_, **__: here)
        monkeypatch.setattr(bucket, "registry", lambda *_: registry)
        monkeypatch.setattr(bucket, "lease", made.lease)
        monkeypatch.setattr(bucket, "leases", lambda *_: made.leases)
        monkeypatch.setattr(bucket, "sweep_lease", made.sweep_lease)
        monkeypatch.setattr(bucket, "held_slots", made.held_slots)
        monkeypatch.setattr(bucket, "discard_leases", made.discard_leases)
        monkeypatch.setattr(bucket, "discard_lease", discard)
        monkeypatch.setattr(
            bucket, "application_lease", lambda *_: Lease(Memory(), "the application", "ada", "taking out")
        )
        monkeypatch.setattr(
            bucket, "environment_lease", lambda *_: Lease(Memory(), "the environment", "ada", "deleting")
        )
        monkeypatch.setattr(application, "withdraw", withdraw)
        monkeypatch.setattr(application, "withdraw_several", made.withdraw_several)
        monkeypatch.setattr(application, "require_ours", lambda *_: [])
        monkeypatch.setattr(copy_db, "host", made.host)
        monkeypatch.setattr(copy_db, "drop_own", drop_own)
        monkeypatch.setattr(copy_db, "drop_several", drop_several)
        monkeypatch.setattr(copy_db, "databases", lambda *_: [])
        monkeypatch.setattr(Played, "scale_service", lambda *_: None)
        monkeypatch.setattr(live, "alive", lambda *_: False)
        return made

    return make
