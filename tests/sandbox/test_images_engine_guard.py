"""What a hostile Dockerfile may not make an engine do. Nothing is built here."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_sandbox.agent.engine import Engine
from copilot_sandbox.images import engine_build
from copilot_sandbox.images.engine_guard import UnsafeDockerfileError

OLD, NEW = (4, 3, 1), (5, 2, 0)


def build(folder: Path, dockerfile: str, version: tuple[int, ...], *flags: tuple[str, str]) -> None:
    file = folder / "Dockerfile"
    file.write_text(dockerfile)
    engine = Engine(str(folder / "podman"), str(folder / "socket"), version=version)
    engine_build.build(engine, folder, file, folder, flags=flags, is_shown=False)


def refused(folder: Path, dockerfile: str, version: tuple[int, ...], *flags: tuple[str, str]) -> str:
    with pytest.raises(UnsafeDockerfileError) as raised:
        build(folder, dockerfile, version, *flags)
    return str(raised.value)


@pytest.mark.parametrize("transport", ["dir", "oci", "oci-archive", "docker-archive", "OCI-Archive", "sif"])
@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM {}:/etc/secret\n",
        "ARG BASE={}:/etc/secret\nFROM $BASE\n",
        "FROM python:3.12\nCOPY --from={}:/etc/secret / /stolen/\n",
        "FROM python:3.12\nRUN --mount=type=bind,from={}:/etc/secret,target=/s cp -r /s /stolen\n",
    ],
)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_an_image_named_by_a_transport_is_refused(
    tmp_path: Path, transport: str, dockerfile: str, version: tuple[int, ...]
) -> None:
    assert "transport" in refused(tmp_path, dockerfile.format(transport), version)


def test_so_is_one_that_a_build_argument_names(tmp_path: Path) -> None:
    dockerfile = "ARG BASE=python:3.12\nFROM $BASE\n"
    assert "line 2" in refused(tmp_path, dockerfile, NEW, ("--build-arg", "BASE=dir:/etc"))


def test_a_name_with_a_variable_is_refused_where_docker_expands_none(tmp_path: Path) -> None:
    assert "variable" in refused(tmp_path, "FROM python:3.12\nCOPY --from=$X / /y\n", NEW)


@pytest.mark.parametrize("mount", ["type=bind,from=base,source=/x,target=/y", "from=base,target=/y"])
def test_a_bind_mount_of_another_stage_is_refused_by_versions_with_the_hole(
    tmp_path: Path, mount: str
) -> None:
    dockerfile = f"FROM python:3.12 AS base\nFROM python:3.12\nRUN --mount={mount} true\n"
    for version in (OLD, (4, 9, 3), (5, 0, 0)):
        assert "CVE-2024-1753" in refused(tmp_path, dockerfile, version)


def test_the_id_of_a_cache_mount_leads_nowhere(tmp_path: Path) -> None:
    dockerfile = "FROM python:3.12\nRUN --mount=type=cache,id=../../etc,target=/y true\n"
    assert "../../etc" in refused(tmp_path, dockerfile, OLD)


@pytest.mark.parametrize(
    ("dockerfile", "version"),
    [
        ("FROM docker:27-cli\n", OLD),
        ("FROM localhost:5000/base:1\n", OLD),
        ("FROM python:3.12 AS base\nFROM base\nCOPY --from=base /a /b\n", OLD),
        ("FROM scratch\nCOPY --from=ghcr.io/astral-sh/uv:0.9 /uv /bin/\n", OLD),
        ("FROM python:3.12\nRUN --mount=type=cache,target=/root/.cache,id=pip true\n", OLD),
        ("FROM python:3.12\nRUN --mount=type=bind,source=uv.lock,target=uv.lock true\n", OLD),
        ("FROM python:3.12 AS base\nFROM base\nRUN --mount=from=base,target=/y true\n", (4, 9, 4)),
        ("FROM python:3.12 AS base\nFROM base\nRUN --mount=from=base,target=/y true\n", (5, 0, 1)),
    ],
)
def test_what_projects_write_is_passed_to_the_engine(
    tmp_path: Path, dockerfile: str, version: tuple[int, ...]
) -> None:
    with pytest.raises(FileNotFoundError):  # there is no such engine: it was about to be started
        build(tmp_path, dockerfile, version)
