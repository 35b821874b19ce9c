"""Which commit fills the sandbox's staging."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from copilot_testenv.copilot import staging_branch
from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.session import Session, _require_uncommitted
from tests.adopt.project import MANIFEST, start_project
from tests.adopt.project import git as run_git
from tests.fakes import FakeReport

ADOPTED = f"{MANIFEST}\nenvironments: {{test: {{count: 1}}}}\n"


def session(folder: Path) -> tuple[Session, FakeReport]:
    report = FakeReport()
    return Session(load(folder, {}), RealShell(), report, {}), report


def find(here: Session, source: str) -> git.Branch:
    return staging_branch.find(here.shell, here.settings, source, here.report.say)


def start(folder: Path, manifest: str) -> Path:
    """The project on `main`, and a branch `work` with one more commit and the block, checked out."""
    start_project(folder, manifest=manifest)
    run_git(folder, "checkout", "--quiet", "-b", "work")
    (folder / "copilot/web/manifest.yml").write_text(ADOPTED)
    run_git(folder, "commit", "--quiet", "--all", "--allow-empty", "--message", "Work")
    return folder


def test_the_default_branch_fills_staging_whatever_is_checked_out(tmp_path: Path) -> None:
    here, report = session(start(tmp_path / "shop", ADOPTED))
    branch = find(here, "")
    assert (branch.name, branch.commit) == ("main", run_git(tmp_path / "shop", "rev-parse", "main").strip())
    assert report.said == []


def test_a_default_branch_without_the_environment_leaves_it_to_head_and_that_is_said(tmp_path: Path) -> None:
    here, report = session(start(tmp_path / "shop", MANIFEST))
    branch = find(here, "")
    assert (branch.name, branch.commit) == ("HEAD", run_git(tmp_path / "shop", "rev-parse", "work").strip())
    assert "staging is filled from HEAD, because copilot/web/manifest.yml of main has no" in report.said[0]


def test_a_default_branch_that_is_not_adopted_leaves_it_to_head_whatever_its_manifest_has(
    tmp_path: Path,
) -> None:
    folder = start(tmp_path / "shop", ADOPTED)
    (folder / "copilot-testenv.toml").write_text('environment = "test"\n')
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--message", "Adopted")
    here, report = session(folder)
    assert find(here, "").commit == run_git(folder, "rev-parse", "work").strip()
    assert "from HEAD, because main has no copilot-testenv.toml" in report.said[0]


def test_a_named_branch_fills_it(tmp_path: Path) -> None:
    here, _ = session(start(tmp_path / "shop", ADOPTED))
    assert find(here, "work").name == "work"
    with pytest.raises(Failed, match="no branch 'none'"):
        find(here, "none")


def test_a_file_of_secrets_that_git_has_is_an_error(tmp_path: Path) -> None:
    folder = start(tmp_path / "shop", ADOPTED)
    here, _ = session(folder)
    (folder / ".sandbox.env").write_text("A=1\n")
    _require_uncommitted(here)
    run_git(folder, "add", "--force", ".sandbox.env")
    with pytest.raises(SettingsError, match=r"git rm --cached \.sandbox\.env"):
        _require_uncommitted(here)
    subprocess.run(["git", "-C", str(folder), "rm", "--quiet", "--cached", ".sandbox.env"], check=True)
    _require_uncommitted(here)
