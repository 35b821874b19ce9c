"""Files of Git LFS: their content is deployed, and a branch's .lfsconfig leads no request elsewhere."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from copilot_testenv.core import checkout, git
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.process import RealShell
from tests.core.test_git import run_git
from tests.core.test_submodules import commit, repository, settings

SHELL = RealShell()
needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="no git-lfs on PATH: install it")
CONTENT = "a large picture"
DIGEST = hashlib.sha256(CONTENT.encode()).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{DIGEST}\nsize {len(CONTENT)}\n"
ATTRIBUTES = "*.png filter=lfs diff=lfs merge=lfs -text\n"
BUILDS = [("Dockerfile", ".")]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A clone of an origin that has a large file, which the clone does not have."""
    origin = tmp_path / "origin"
    repository(origin, {".gitattributes": ATTRIBUTES, "logo.png": POINTER})
    stored = origin / ".git/lfs/objects" / DIGEST[:2] / DIGEST[2:4] / DIGEST
    stored.parent.mkdir(parents=True)
    stored.write_text(CONTENT)
    run_git(tmp_path, "clone", "--quiet", f"file://{origin}", str(tmp_path / "clone"))
    return tmp_path / "clone"


@needs_lfs
def test_large_files_have_their_content_and_the_clone_no_hook(shop: Path) -> None:
    before = sorted(each.name for each in (shop / ".git/hooks").iterdir())
    with checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")) as folder:
        assert (folder / "logo.png").read_text() == CONTENT
    assert sorted(each.name for each in (shop / ".git/hooks").iterdir()) == before
    assert "filter" not in (shop / ".git/config").read_text()


@needs_lfs
def test_a_large_file_that_was_not_pushed_is_one_line(shop: Path) -> None:
    commit(shop, {"other.png": POINTER.replace(DIGEST, "0" * 64)})
    with (
        pytest.raises(
            Failed, match=r"^1 large files of main cannot be fetched with Git LFS: .* Nothing was"
        ) as told,
        checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")),
    ):
        pass
    assert "\n" not in str(told.value)


@needs_lfs
def test_a_lfsconfig_that_the_default_branch_has_not_is_refused(shop: Path) -> None:
    commit(shop, {".lfsconfig": "[lfs]\n\turl = https://127.0.0.1:9/elsewhere\n"})
    with (
        pytest.raises(Refused, match=r"The \.lfsconfig of main differs from the default branch's"),
        checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")),
    ):
        pass


def test_without_git_lfs_the_number_of_pointers_is_said(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(programs))
    said: list[str] = []
    branch = git.find(SHELL, shop, "main")
    with checkout.worktree(SHELL, settings(shop), branch) as folder:
        checkout.prepare_contexts(SHELL, shop, folder, branch, BUILDS, said.append)
        assert (folder / "logo.png").read_text() == POINTER
    (line,) = said
    assert line.startswith("1 files of the build context are pointers of Git LFS")
    assert "apt-get install git-lfs" in line
