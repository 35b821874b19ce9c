"""Test that what runs the containers is chosen while Postgres starts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from copilot_sandbox import containers
from copilot_sandbox.errors import Failed
from copilot_sandbox.state import State


class FakePostgres:
    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        self.did: list[str] = []

    def start(self) -> None:
        time.sleep(0.2)
        if self.reason:
            raise Failed(self.reason)
        self.did.append("start")

    def stop(self) -> None:
        self.did.append("stop")


def choose(postgres: Any, tmp_path: Path) -> containers.Chosen:
    workspace: Any = None
    return containers.choose_while_starting(
        postgres, workspace, State(tmp_path), has_namespace=True, say=lambda _: None
    )


def test_postgres_has_started_when_the_engine_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = containers.Chosen(None, None, "none is wanted")
    monkeypatch.setattr(containers, "choose", lambda *_, **__: nothing)
    postgres = FakePostgres()
    assert choose(postgres, tmp_path) is nothing
    assert postgres.did == ["start"]


def test_postgres_is_stopped_if_no_engine_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> containers.Chosen:
        raise Failed("No container engine can be used")

    monkeypatch.setattr(containers, "choose", refuse)
    postgres = FakePostgres()
    with pytest.raises(Failed, match="No container engine"):
        choose(postgres, tmp_path)
    assert postgres.did == ["start", "stop"]


def test_the_engines_service_is_stopped_if_postgres_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as service:
        monkeypatch.setattr(containers, "choose", lambda *_, **__: containers.Chosen(None, service, ""))
        with pytest.raises(Failed, match="no disk"):
            choose(FakePostgres("no disk"), tmp_path)
        assert service.poll() is not None
