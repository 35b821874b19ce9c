"""The Python that an image's packages are installed with: an older one of FROM's, a newer one if need be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from copilot_sandbox.images import projects, pythons
from copilot_sandbox.images.pythons import Python
from copilot_sandbox.images.tree import Tree, file_of

OLD, NEW = "docker.io/library/python:3.9-slim", "python:3.99"
OWN = f"python:{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has what pyenv installed into the folder, and programs in `bin`."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    monkeypatch.setattr(pythons, "_needed", {})
    pythons._installed.cache_clear()
    return tmp_path


def put(place: Path, version: list[int], *, works: bool = True) -> Python:
    place.parent.mkdir(parents=True)
    answer = json.dumps([version, "text", "/prefix", str(place)])
    place.write_text(f"#!/bin/sh\necho '{answer}'\nexit {0 if works else 127}\n")
    place.chmod(0o755)
    return Python(str(place), tuple(version), "text", "/prefix")


def test_an_image_of_an_older_python_is_made_with_that_one_where_the_machine_has_it(folder: Path) -> None:
    assert pythons.for_images([OLD]).is_own
    pythons._installed.cache_clear()
    put(
        folder / "bin/python3.9", [3, 9, 1], works=False
    )  # pyenv's own program for a version that is not chosen
    found = put(folder / "versions/3.9.1/bin/python3.9", [3, 9, 1])
    assert pythons.for_images(["debian", OLD, OWN]) == found
    assert pythons.for_images([OWN, OLD]).is_own
    assert pythons.for_images(["debian"]).is_own


def test_an_interpreter_that_is_another_version_or_too_old_is_not_used(folder: Path) -> None:
    put(folder / "versions/3.9.1/bin/python3.9", [3, 10, 0])
    put(folder / "versions/3.8.1/bin/python3.8", [3, 8, 1])
    assert pythons.for_images([OLD]).is_own
    assert pythons.for_images(["python:3.8"]).is_own


def test_a_newer_python_is_used_from_when_a_project_needs_it(folder: Path) -> None:
    found = put(folder / "uv/cpython-3.99.0-linux/bin/python3.99", [3, 99, 0])
    assert pythons.for_images([NEW]).is_own
    assert pythons.need(NEW)
    assert pythons.for_images([NEW]) == found
    assert not pythons.need(NEW)
    assert not pythons.need(OLD)
    assert not pythons.need("")


@pytest.mark.parametrize("base", ["python:3.99-slim", "python:3-slim"])
def test_without_the_images_own_python_the_newest_one_below_it_is_used(folder: Path, base: str) -> None:
    minor = sys.version_info.minor + 2
    put(folder / f"versions/3.{minor - 1}.4/bin/python3.{minor - 1}", [3, minor - 1, 4])
    found = put(folder / f"versions/3.{minor}.0/bin/python3.{minor}", [3, minor, 0])
    assert pythons.need(base)
    assert pythons.for_images([base]) == found


def test_a_lock_files_markers_are_evaluated_for_the_python_of_the_image(folder: Path) -> None:
    put(folder / "versions/3.9.1/bin/python3.9", [3, 9, 1])
    lock = {"default": {"one": {"version": "==1.0", "markers": "python_version < '3.10'"}}}
    tree = Tree()
    tree.put("/app/Pipfile", file_of(b"[packages]\none = '*'\n"))
    tree.put("/app/Pipfile.lock", file_of(json.dumps(lock).encode()))

    def pinned(base: str) -> list[str]:
        place = projects.Place(tree, "/app", 1, {}, "pipenv sync", base)
        answer: list[str] = projects.translate(projects.Request("pipenv"), place).answer["pinned"]
        return answer

    assert (pinned(OLD), pinned(OWN)) == (["one==1.0"], [])
