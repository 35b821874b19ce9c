"""Which commit a branch is compared with, and what a refusal shows."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.branch_guard.template_changes import Change
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import rendered_guard
from copilot_testenv.session import Session
from tests.clone import IDENTITY
from tests.fakes import FakeReport


class Repository:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *words], check=True, capture_output=True, text=True, env=IDENTITY
        )
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            (self.root / name.replace("__", "/")).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "x")
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str, **files: str) -> Branch:
        self.git("checkout", "--quiet", "-B", name, "main")
        (self.root / "copilot/web").mkdir(exist_ok=True)
        found = Branch(name, self.commit(**files))
        self.git("checkout", "--quiet", "main")
        return found


@pytest.fixture
def repository(settings: Settings) -> Repository:
    return Repository(settings.root)


def compared(settings: Settings, branch: Branch, name: str = "") -> rendered_guard.Baseline:
    session = Session(replace(settings, default_branch=name), RealShell(), FakeReport(), {})
    return rendered_guard.default_branch(session, branch)


def test_main_is_compared_with_itself_and_so_is_a_branch_with_its_manifests(
    settings: Settings, repository: Repository
) -> None:
    main = repository.git("rev-parse", "main")
    assert compared(settings, Branch("main", main)).commit == ""
    assert compared(settings, repository.branch("code", note="x")).commit == ""
    changed = repository.branch("manifest", copilot__web__x="y")
    assert compared(settings, changed) == rendered_guard.Baseline("main", main)


def test_attributes_and_links_could_make_other_files_of_the_same_commits(
    settings: Settings, repository: Repository
) -> None:
    attributes = repository.branch("attributes")
    assert compared(settings, attributes).commit == ""
    repository.git("checkout", "--quiet", "attributes")
    (settings.root / ".gitattributes").write_text("*.yml eol=crlf\n")
    commit = repository.commit()
    repository.git("checkout", "--quiet", "--force", "main")
    assert compared(settings, Branch("attributes", commit)).commit
    (settings.root / "copilot/link").symlink_to("../note")
    repository.commit()
    assert compared(settings, repository.branch("linked", note="x")).commit


def test_a_project_below_the_top_is_compared_by_its_own_manifests_and_the_attributes_above(
    settings: Settings, repository: Repository
) -> None:
    shutil.copytree(settings.root / "copilot", settings.root / "services/shop/copilot")
    (settings.root / "services/shop/copilot/web").mkdir(exist_ok=True)
    main = repository.commit()
    shop = replace(settings, root=settings.root / "services/shop")
    same = repository.branch("same", copilot__x="an application of another folder")
    assert compared(shop, same).commit == ""
    assert compared(shop, repository.branch("other", services__shop__copilot__web__x="y")).commit == main
    assert compared(shop, repository.branch("above", services__gitattributes="x")).commit == ""
    (settings.root / "services/.gitattributes").write_text("*.yml eol=crlf\n")
    repository.git("checkout", "--quiet", "-b", "attributes")
    assert compared(shop, Branch("attributes", repository.commit())).commit == main


def test_the_default_branch_is_set_or_what_origin_says_or_main_or_master(
    settings: Settings, repository: Repository
) -> None:
    changed = repository.branch("manifest", copilot__web__x="y")
    main = repository.git("rev-parse", "main")
    repository.git("branch", "develop", repository.branch("other", copilot__web__z="y").commit)
    assert compared(settings, changed, "develop").name == "develop"
    repository.git("update-ref", "refs/remotes/origin/develop", "develop")
    repository.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop")
    assert compared(settings, changed).name == "develop"
    assert compared(settings, Branch("main", main)).name == "develop"
    repository.git("symbolic-ref", "--delete", "refs/remotes/origin/HEAD")
    repository.git("branch", "--move", "main", "master")
    assert compared(settings, changed).name == "master"
    repository.git("branch", "--move", "master", "trunk")
    for name in ("", "gone", "-x", "a..b"):
        with pytest.raises(SettingsError, match="Set DEFAULT_BRANCH"):
            compared(settings, changed, name)


@pytest.mark.parametrize("hostile", ["main", "master"])
def test_no_branch_becomes_the_default_one_by_its_name(
    settings: Settings, repository: Repository, hostile: str
) -> None:
    repository.git("branch", "--move", "main", "master" if hostile == "main" else "main")
    repository.git("branch", hostile)
    commit = repository.git("rev-parse", hostile)
    with pytest.raises(SettingsError, match="there is main and master"):
        compared(settings, Branch(hostile, commit))
    assert compared(settings, Branch(hostile, commit), hostile).commit == ""


def test_a_default_branch_that_is_fetched_leaves_a_whole_clone_whole(
    settings: Settings, repository: Repository, tmp_path: Path
) -> None:
    repository.branch("other", copilot__web__z="y")
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--single-branch", "--branch", "other", str(settings.root), str(clone))
    here = replace(settings, root=clone)
    other = Branch("other", repository.git("rev-parse", "other"))
    assert compared(here, other, "main").commit == repository.git("rev-parse", "main")
    assert not (clone / ".git/shallow").exists()


def test_a_stale_local_branch_is_not_what_is_compared_with(
    settings: Settings, repository: Repository
) -> None:
    changed = repository.branch("manifest", copilot__web__x="y")
    old = repository.git("rev-parse", "main")
    newer = repository.branch("newer", copilot__web__n="y").commit
    repository.git("update-ref", "refs/remotes/origin/main", newer)
    assert compared(settings, changed).commit == newer
    repository.git("update-ref", "refs/remotes/origin/main", old)
    repository.git("update-ref", "refs/heads/main", newer)
    assert compared(settings, changed).commit == newer  # not pushed yet


def test_a_refusal_lists_what_is_not_trusted_on_one_line_each(settings: Settings) -> None:
    found = [Change("rules", ("Resources", f"R{number}"), f"it adds R{number}") for number in range(12)]
    found.append(Change("access", ("Resources", "X"), "a\x1b[31m\nforged: line " + "x" * 500))
    with pytest.raises(Refused) as refused:
        rendered_guard.refuse(found, settings, settings.root)
    text = str(refused.value)
    assert "and 3 more" in text
    assert "--trust access,rules" in text
    with pytest.raises(Refused) as refused:
        rendered_guard.refuse(found, replace(settings, trusted=frozenset({"rules"})), settings.root)
    assert "R1" not in str(refused.value)
    assert "a?[31m?forged" in str(refused.value)
    assert max(map(len, str(refused.value).splitlines())) < 400
    rendered_guard.refuse(found, replace(settings, trusted=frozenset({"rules", "access"})), settings.root)
