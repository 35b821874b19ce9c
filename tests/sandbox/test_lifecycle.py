from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from copilot_sandbox import lifecycle
from copilot_sandbox.errors import Failed, WorkspaceError
from copilot_sandbox.state import Running, State
from copilot_sandbox.workspace import Workspace, read


@pytest.fixture
def root(workspace: Path) -> Path:
    return workspace


@contextmanager
def answering() -> Iterator[str]:
    """The address of something that answers requests."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_sandbox_that_does_not_run_is_not_started_unless_asked(root: Path) -> None:
    assert lifecycle.enter(root, print, None) is None
    assert not (root / ".sandbox").exists()


@pytest.mark.parametrize(("code", "again"), [(2, False), (4, True)])
def test_starting_again_is_advised_where_it_can_help(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, *, again: bool
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho 'The commit has no Dockerfile: commit it.' >&2\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(lifecycle.sys, "executable", str(program))
    with pytest.raises((WorkspaceError, Failed), match="has no Dockerfile: commit it") as failed:
        lifecycle.enter(root, print, lambda: nullcontext(Workspace(root, "demo")))
    assert isinstance(failed.value, WorkspaceError | Failed)
    assert failed.value.exit_code == code
    assert ("--reset" in str(failed.value)) is again


@pytest.mark.parametrize(("code", "error"), [(2, WorkspaceError), (4, Failed)])
def test_a_server_that_knows_why_it_ends_is_quoted_once_and_without_other_advice(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    program, why = tmp_path / "python", "pip install failed (Dockerfile line 3): no such package."
    failure = State(root).failure
    program.write_text(f"#!/bin/sh\necho noise >&2\necho '{why}' > {failure}\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(lifecycle.sys, "executable", str(program))
    with pytest.raises(error) as failed:
        lifecycle.enter(root, print, lambda: nullcontext(Workspace(root, "demo")))
    assert str(failed.value).startswith(f"The sandbox could not be started: {why}")
    assert "noise" not in str(failed.value)
    assert "--reset" not in str(failed.value)


def test_nothing_of_the_users_aws_or_proxies_reaches_a_child(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "no_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("https_proxy", "http://company:3128")
    state = State(root)
    state.create()
    with state.held() as got, answering() as proxy:
        assert got
        state.ready(Running(os.getpid(), {"HTTPS_PROXY": proxy, "AWS_REGION": "us-east-1"}))
        found = lifecycle.enter(root, print, None)
    assert found
    # The builder alone knows the user's proxies, by other names.
    assert {name for name, value in found.items() if value == "the user's"} == {
        "SANDBOX_USER_HTTP_PROXY", "SANDBOX_USER_NO_PROXY",
    }  # fmt: skip
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "no_proxy", "HTTP_PROXY"):
        assert found[name] is None
    assert found["HTTPS_PROXY"] == proxy
    assert found["AWS_CONFIG_FILE"] == os.devnull
    assert found["SANDBOX_USER_HTTPS_PROXY"] == "http://company:3128"
    assert str(found["PATH"]).startswith(str(state.bin))


def test_a_reset_deletes_all_and_twice_is_fine(root: Path) -> None:
    state = State(root)
    state.create()
    lifecycle.reset(root, print)
    assert not state.folder.exists()
    lifecycle.reset(root, print)


@pytest.mark.parametrize(
    ("others", "made"),
    [((), ["test"]), (("stage", "gone"), ["stage", "test"]), (None, ["production", "stage", "test"])],
)
def test_the_needed_environments_are_made_and_those_that_are_named(
    root: Path, tmp_path: Path, others: tuple[str, ...] | None, made: list[str]
) -> None:
    workspace = Workspace(root, "demo", needed=("test",), others=others)
    workspace.write(tmp_path / "workspace.json")
    assert read(tmp_path / "workspace.json") == workspace
    assert workspace.made() == made


def test_what_the_running_sandbox_did_not_make_is_rendered_elsewhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ElsewhereError(Exception):
        pass

    def elsewhere(*_: object, **_more: object) -> None:
        raise ElsewhereError

    monkeypatch.setattr("copilot_sandbox.control_plane.server.ControlPlaneServer", elsewhere)
    state, workspace = State(root), Workspace(root, "demo")
    state.create()
    with state.held(), answering() as proxy:
        reasons = {"stage": "it has a CDN"}
        variables = {"HTTPS_PROXY": proxy}
        state.ready(Running(os.getpid(), variables, workspace.digest(), left_out=reasons, made=["test"]))
        with lifecycle.rendering(workspace, ["test", "stage"], "", alone=False) as (_, left_out):
            assert left_out == reasons
        with (
            pytest.raises(ElsewhereError),
            lifecycle.rendering(workspace, ["test", "production"], "", alone=False),
        ):
            pass


def test_stopping_what_does_not_run_is_fine(root: Path) -> None:
    told: list[str] = []
    lifecycle.stop(root, told.append)
    assert "did not run" in told[-1]


def test_a_sandbox_that_does_not_answer_is_not_taken_for_one_that_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "HEAL_SECONDS", 0.2)
    state = State(root)
    state.create()
    told: list[str] = []
    with state.held() as got, answering() as proxy:
        assert got
        state.ready(Running(os.getpid(), {"HTTPS_PROXY": proxy}, "", "/nowhere/.s.PGSQL.5432"))
        with pytest.raises(Failed, match=r"Postgres does not answer.*start it again"):
            lifecycle.enter(root, told.append, None)
    assert told == ["The sandbox is repairing itself: its Postgres does not answer."]


def test_what_a_killed_server_left_is_cleared_away_by_a_command_that_starts_none(root: Path) -> None:
    state = State(root)
    state.create()
    state.begin()
    state.ready(Running(1, {}))
    state.ended("Postgres ended 9 times within a minute")
    left = [state.folder / "tasks/4711/web", state.folder / "postgres/fill-x/root"]
    for folder in left:
        folder.mkdir(parents=True)
    told: list[str] = []
    assert lifecycle.enter(root, told.append, None) is None
    (line,) = told
    assert "The sandbox had ended: Postgres ended 9 times" in line
    assert "its databases are kept" in line
    assert not state.left()
    assert not any(folder.parent.exists() for folder in left)
    assert lifecycle.enter(root, told.append, None) is None
    assert told == [line]


def test_what_ended_and_was_started_again_is_told_once(root: Path) -> None:
    state = State(root)
    state.create()
    state.notice("12:00:00 UTC: Postgres had ended.")
    told: list[str] = []
    with state.held() as got, answering() as proxy:
        assert got
        state.ready(Running(os.getpid(), {"HTTPS_PROXY": proxy}))
        for _ in range(2):
            lifecycle.enter(root, told.append, None)
    assert told == ["  sandbox: 12:00:00 UTC: Postgres had ended."]


def test_waiting_for_another_command_that_starts_it_is_told_and_ends(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "START_SECONDS", 0.1)
    monkeypatch.setattr(lifecycle, "HEAL_SECONDS", 0.1)
    state, told = State(root), list[str]()
    with state.starting(print, 1), pytest.raises(Failed, match="held the start of the sandbox"):
        lifecycle.stop(root, told.append)
    assert "Another command is starting or stopping the sandbox" in told[-1]


def test_a_sandbox_without_stagings_data_is_none_for_who_needs_them(root: Path) -> None:
    state = State(root)
    state.create()
    with state.held() as got, answering() as proxy:
        assert got
        state.ready(Running(os.getpid(), {"HTTPS_PROXY": proxy}, is_filled=False))
        assert lifecycle.enter(root, print, None)
        with pytest.raises(WorkspaceError, match="`copilot-sandbox stop`"):
            lifecycle.enter(root, print, None, filled=True)
