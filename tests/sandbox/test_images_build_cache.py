"""Environments are made once, shared, made anew, and dropped with their images."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from copilot_sandbox.images import build as builder
from copilot_sandbox.images import venv_cache
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.images.venv_cache import MARKER
from tests.sandbox.builds import Project, run

pytestmark = pytest.mark.usefixtures("_no_index")


def test_an_equal_environment_is_made_once_and_a_changed_requirement_makes_another(project: Project) -> None:
    text = "FROM x\nCOPY . /app\nRUN pip install -r /app/requirements.txt\n"
    project.put("requirements.txt", "tiny\n")
    first = project.build(text)
    project.put("source.py", "changed")
    second = project.build(text)

    assert second.venv == first.venv
    assert second.digest != first.digest
    assert project.said == []
    project.put("requirements.txt", "tiny\nother\n")
    third = project.build(text)
    assert third.venv != first.venv
    assert run(third, "other") == "this is other\n"


@pytest.mark.usefixtures("_nothing_installed")
def test_a_change_in_an_included_requirements_file_makes_another_environment(project: Project) -> None:
    text = "FROM x\nCOPY . /app\nRUN cd /app && pip install -r a.txt -c limits.txt\n"
    project.write(**{"a.txt": "-r b.txt\n", "b.txt": "tiny\n", "limits.txt": "tiny==1.0\n"})
    first = project.build(text)

    project.put("b.txt", "tiny\n# more\n")
    second = project.build(text)
    project.put("limits.txt", "tiny<2\n")

    assert len({first.venv, second.venv, project.build(text).venv}) == 3


@pytest.mark.nightly
def test_an_interrupted_environment_is_made_anew(project: Project) -> None:
    text = "FROM x\nRUN pip install tiny\n"
    image = project.build(text)
    assert image.venv is not None
    (image.venv / ".complete").unlink()
    (image.venv / "bin" / "tiny").unlink()

    assert ImageStore(project.state).load(image.digest) is None
    assert run(project.build(text), "tiny") == "this is tiny\n"


def test_two_builds_at_once_make_one_environment(project: Project) -> None:
    file = project.put("Dockerfile", "FROM x\nCOPY . /app\nRUN pip install tiny\n")
    said: list[list[str]] = [[], [], []]
    digests: set[str] = set()

    def build(number: int) -> None:
        digests.add(builder.build(project.context, file, project.state, say=said[number].append))

    threads = [threading.Thread(target=build, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(digests) == 1
    assert sum(len(lines) for lines in said) == 1
    image = ImageStore(project.state).load(digests.pop())
    assert image is not None
    assert run(image, "tiny") == "this is tiny\n"
    assert list((project.state / "images").glob("unfinished-*")) == []


@pytest.mark.usefixtures("_nothing_installed")
def test_old_images_go_with_their_environments_and_those_in_use_stay(project: Project) -> None:
    kept = project.build("FROM x\nRUN pip install tiny\n")
    old = project.build("FROM x\nRUN pip install other\n")
    new = project.build("FROM x\n")
    for number, image in enumerate((kept, old, new)):
        os.utime(image.root.parent / "config.json", (number, number))
    store = ImageStore(project.state)

    assert store.prune([kept.digest], newest=1) == 1
    assert store.load(old.digest) is None
    assert [store.load(each.digest) for each in (kept, new)] == [kept, new]
    assert kept.venv is not None
    assert old.venv is not None
    assert old.venv.is_dir()  # another clone may use it
    for each in (kept.venv, old.venv):
        os.utime(each / MARKER, (0, 0))
    store.prune([kept.digest], newest=1)
    assert [each.name for each in (project.state / "venvs").iterdir() if each.is_dir()] == [kept.venv.name]


@pytest.mark.usefixtures("_nothing_installed")
def test_clones_share_the_environments_that_they_build(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clones = [tmp_path / "one", tmp_path / "two"]
    (project.context / "Dockerfile").write_text("FROM x\nRUN pip install tiny\n")
    said: list[str] = []
    for clone in clones:
        clone.mkdir()
        venv_cache.share(clone)
        digest = builder.build(project.context, project.context / "Dockerfile", clone, say=said.append)
        image = ImageStore(clone).load(digest)
        assert image
        assert image.venv
        assert image.venv.parent == tmp_path / "cache/copilot-sandbox/venvs"
    assert [line for line in said if "pip install" in line] == said[:1]  # the second clone installs nothing
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'wheels'} {tmp_path}")
    builder.build(project.context, project.context / "Dockerfile", clones[1], say=said.append)
    assert len(said) == 2  # what another index gives is another environment
    assert (tmp_path / "cache/copilot-sandbox").stat().st_mode & 0o077 == 0


def test_environments_stay_with_the_clone_where_the_cache_is_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/copilot-sandbox").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    venv_cache.share(tmp_path)
    assert venv_cache.venv_folder(tmp_path, "1") == tmp_path / "venvs/1"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_cache_that_the_user_has_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    venv_cache.share(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    venv_cache.share(tmp_path)
    assert (tmp_path / "venvs").is_dir()
