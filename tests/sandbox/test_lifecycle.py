from __future__ import annotations

import os

import pytest

from scripts.environment import Bench
from scripts.errors import Refused, UsageError
from scripts.sandbox import lifecycle
from scripts.sandbox.state import Running, State
from scripts.settings import Settings
from tests.fakes import FakeReport, FakeShell


@pytest.fixture
def bench(settings: Settings) -> Bench:
    return Bench(settings, FakeShell(), FakeReport(), {})


def test_a_sandbox_that_does_not_run_is_not_started_unless_asked(settings: Settings) -> None:
    assert lifecycle.enter(settings, print, start=False) is None
    assert not (settings.root / ".sandbox").exists()


def test_nothing_of_the_users_aws_or_proxies_reaches_a_child(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "no_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("https_proxy", "http://company:3128")
    state = State(settings.root)
    state.create()
    with state.held() as got:
        assert got
        state.ready(Running(os.getpid(), {"HTTPS_PROXY": "http://127.0.0.1:1", "AWS_REGION": "us-east-1"}))
        found = lifecycle.enter(settings, print, start=False)
    assert found
    assert "the user's" not in found.values()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "no_proxy", "HTTP_PROXY"):
        assert found[name] is None
    assert found["HTTPS_PROXY"] == "http://127.0.0.1:1"
    assert found["AWS_CONFIG_FILE"] == os.devnull
    assert found["SANDBOX_USER_HTTPS_PROXY"] == "http://company:3128"
    assert str(found["PATH"]).startswith(str(state.bin))


def test_a_reset_asks_first_and_deletes_then(bench: Bench) -> None:
    state = State(bench.settings.root)
    state.create()
    with pytest.raises(Refused):
        lifecycle.command(bench, stop=False, reset=True, yes=False)
    assert state.folder.exists()
    lifecycle.command(bench, stop=False, reset=True, yes=True)
    assert not state.folder.exists()
    lifecycle.command(bench, stop=False, reset=True, yes=True)


def test_stop_and_reset_together_are_a_usage_error(bench: Bench) -> None:
    with pytest.raises(UsageError):
        lifecycle.command(bench, stop=True, reset=True, yes=True)


def test_stopping_what_does_not_run_is_fine(bench: Bench) -> None:
    lifecycle.command(bench, stop=True, reset=False, yes=False)
    assert isinstance(bench.report, FakeReport)
    assert "did not run" in bench.report.said[-1]
