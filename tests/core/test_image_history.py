"""The `.git` that a build may copy: the worktree's own, never the file that leads to the clone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from copilot_testenv.core import git, image_history
from copilot_testenv.core.process import RealShell
from tests.core.test_git import run_git

SHELL = RealShell()
ASKS = {"Dockerfile": "FROM python:3.12\nCOPY .git .git\nRUN git describe --tags > version\n"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with credentials and a hook of its own, a tag, a merge and five commits since."""
    folder = tmp_path / "clone"
    folder.mkdir()
    run_git(folder, "init", "--quiet")
    run_git(folder, "config", "http.extraheader", "AUTHORIZATION: secret")
    run_git(folder, "remote", "add", "origin", "https://ada:secret@example.org/shop.git")
    (folder / ".git/hooks/post-checkout").write_text("#!/bin/sh\nexit 1\n")
    for number in range(8):
        _commit(folder, {"file": str(number), **ASKS})
        if number == 2:
            run_git(folder, "tag", "-a", "v1.2.0", "-m", "v1.2.0")
        if number == 3:
            run_git(folder, "tag", "newer")
    run_git(folder, "checkout", "--quiet", "-b", "side", "HEAD~3")
    _commit(folder, {"side": "side"})
    run_git(folder, "checkout", "--quiet", "main")
    run_git(folder, "merge", "--quiet", "--no-edit", "side")
    run_git(folder, "branch", "--quiet", "secret-work")
    return folder


def _commit(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).write_text(text)
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "-m", "work")


def test_an_image_that_asks_git_is_answered_as_the_clone_is(clone: Path, tmp_path: Path) -> None:
    branch = git.find(SHELL, clone, "main")
    with git.worktree(SHELL, clone, branch) as folder:
        image_history.replace_link(SHELL, clone, folder, branch, [("Dockerfile", ".")])
        image = shutil.copytree(folder, tmp_path / "image")
        before = (folder / ".git").is_dir()
    shutil.move(clone, tmp_path / "away")  # the image is elsewhere than the clone
    assert before
    for words in (
        ("describe",),
        ("describe", "--tags", "--long"),
        ("rev-parse", "HEAD"),
        ("describe", "--dirty"),
        ("branch", "--show-current"),
    ):
        assert run_git(image, *words) == run_git(tmp_path / "away", *words)
    text = "".join(file.read_text(errors="replace") for file in (image / ".git").rglob("*") if file.is_file())
    assert not any(word in text for word in ("secret", "extraheader", "example.org", str(clone)))
    assert not (image / ".git/hooks").exists()


def test_the_clone_has_its_worktree_back_and_removes_it(clone: Path) -> None:
    branch = git.find(SHELL, clone, "main")
    with git.worktree(SHELL, clone, branch) as folder:
        image_history.replace_link(SHELL, clone, folder, branch, [("Dockerfile", ".")])
    assert run_git(clone, "worktree", "list").count("\n") == 0
    assert sorted(each.name for each in (clone / ".worktrees").iterdir()) == [".gitignore", "lock"]


@pytest.mark.parametrize(
    ("files", "builds"),
    [
        ({".dockerignore": "*.pyc\n.git\n"}, [("Dockerfile", ".")]),
        ({"Dockerfile": "FROM python:3.12\nCOPY . .\n"}, [("Dockerfile", ".")]),
        ({"app": "x"}, [("Dockerfile", "app")]),
    ],
)
def test_an_image_that_does_not_ask_has_no_history_and_no_way_to_the_clone(
    clone: Path, files: dict[str, str], builds: list[tuple[str, str]]
) -> None:
    _commit(clone, files)
    branch = git.find(SHELL, clone, "main")
    with git.worktree(SHELL, clone, branch) as folder:
        image_history.replace_link(SHELL, clone, folder, branch, builds)
        assert (folder / ".git").is_dir()
        assert run_git(folder, "count-objects") == "0 objects, 0 kilobytes"


def test_the_same_commit_has_the_same_files(clone: Path) -> None:
    branch = git.find(SHELL, clone, "main")
    indexes = []
    for _ in range(2):
        with git.worktree(SHELL, clone, branch) as folder:
            image_history.replace_link(SHELL, clone, folder, branch, [("Dockerfile", ".")])
            indexes.append((folder / ".git/index").read_bytes())
    assert indexes[0] == indexes[1]


def test_without_a_tag_the_whole_history_is_there_to_count(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    run_git(folder, "init", "--quiet")
    for number in range(6):
        _commit(
            folder, {"file": str(number), "pyproject.toml": "[build-system]\nrequires = ['setuptools-scm']\n"}
        )
    _commit(folder, {"Dockerfile": "FROM python:3.12\nCOPY . .\nRUN pip install .\n"})
    branch = git.find(SHELL, folder, "main")
    with git.worktree(SHELL, folder, branch) as tree:
        image_history.replace_link(SHELL, folder, tree, branch, [("Dockerfile", ".")])
        assert run_git(tree, "rev-list", "--count", "HEAD") == "7"
