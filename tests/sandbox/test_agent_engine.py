"""Which engine is used, and how images and limits are named for it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.agent import engine
from copilot_sandbox.images import build_variables


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, as root on Linux."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def find(folder: Path, wanted: str = "auto", *, has_namespace: bool = True) -> tuple[object, str]:
    return engine.find(wanted, folder, has_namespace=has_namespace)


def test_podman_that_answers_is_used_and_its_version_known(programs: Path, tmp_path: Path) -> None:
    program(programs, "podman", "echo 5.2.1-dev")
    found, reason = engine.find("auto", tmp_path, has_namespace=True)
    assert reason == ""
    assert found is not None
    assert (found.name, tuple(found.version)) == ("podman", (5, 2, 1))
    assert found.socket == str(tmp_path / "engine.sock")


def test_each_obstacle_is_said(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(tmp_path) == (None, "Podman is not installed")
    program(programs, "docker", "exit 0")
    assert find(tmp_path) == (None, "Docker cannot be used so far, only Podman")
    program(programs, "podman", "echo 'Error: no runtime' >&2; exit 125")
    assert find(tmp_path) == (None, "Podman does not work: Error: no runtime")
    program(programs, "podman", "echo 5.2.1")
    assert find(tmp_path, "processes") == (None, "SANDBOX_CONTAINERS=processes")
    assert find(tmp_path, has_namespace=False) == (None, "this system gives a task no network namespace")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find(tmp_path) == (None, "Podman can be used by root on Linux only")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("redis", "docker.io/library/redis"),
        ("redis:7.4", "docker.io/library/redis:7.4"),
        ("axllent/mailpit:v1", "docker.io/axllent/mailpit:v1"),
        ("public.ecr.aws/docker/library/redis:7", "public.ecr.aws/docker/library/redis:7"),
        ("localhost/mine", "localhost/mine"),
        ("registry:5000/mine", "registry:5000/mine"),
    ],
)
def test_a_name_without_a_registry_is_docker_hubs(reference: str, name: str) -> None:
    assert engine.qualified(reference) == name


@given(st.from_regex(r"[a-z0-9]{1,8}([./:-][a-z0-9]{1,8}){0,4}", fullmatch=True))
def test_a_name_is_qualified_once(reference: str) -> None:
    once = engine.qualified(reference)
    assert engine.qualified(once) == once
    assert once.endswith(reference)


def test_a_container_gets_no_limit_above_this_process_own() -> None:
    for name, soft, hard in engine.limits():
        kind = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}[name]
        own = resource.getrlimit(kind)
        assert own[1] == resource.RLIM_INFINITY or hard <= own[1]
        assert hard == resource.RLIM_INFINITY or soft <= hard


def test_builds_of_an_engine_get_the_users_proxies_without_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        build_variables.WITHHELD,
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://ada:secret@proxy:3128")
    assert build_variables.engine_proxies() == {"HTTPS_PROXY": "http://proxy:3128"}
    # In Copilot's processes HTTPS_PROXY points at the embedded AWS.
    for name, value in build_variables.forwarded().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:5000")
    assert build_variables.engine_proxies() == {"HTTPS_PROXY": "http://proxy:3128"}
    assert "secret" not in str(build_variables.forwarded())


def test_the_engines_programs_get_no_variable_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTAINERS_CONF", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "x")
    assert engine.variables().keys() <= {"PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "LANG", "LC_ALL"}
