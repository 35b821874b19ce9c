"""Hostile branches, as commits of a real repository in real worktrees, at the guard that deploy-test asks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_sandbox import lifecycle
from copilot_testenv.branch_guard import branch_files
from copilot_testenv.core import git, trust
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.process import Command, RealShell, output_of
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.attacks.hostile_branches import BASE, CDK, HOSTILE, ORDINARY, Branch
from tests.clone import IDENTITY
from tests.fakes import FakeReport, FakeShell

SHELL = RealShell()
SECRETS = {"HOME": "/home/ada", "AWS_SECRET_ACCESS_KEY": "key", "GITHUB_TOKEN": "token"}
DEPLOY = branch_files.Scope(services=("web",), environments=False)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base, committed once; each case is a commit upon it."""
    folder = tmp_path_factory.mktemp("hostile")
    run_git(folder, "init", "--quiet", "--initial-branch=main")
    for path, text in BASE.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / ".env").write_text("PASSWORD=the deployer's\n")  # ignored: in the checkout only
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--message", "base")
    return folder


@pytest.fixture
def settings(repository: Path) -> Settings:
    return load(repository, {})


def run_git(folder: Path, *words: str) -> str:
    return output_of(SHELL, Command(("git", "-C", str(folder), *words), env=IDENTITY), "git").strip()


@contextmanager
def worktree_of(repository: Path, case: Branch) -> Iterator[Path]:
    """The case's commit in a worktree as the tasks make it."""
    stream = f"commit refs/heads/hostile\ncommitter Ada <ada@example.org> 0 +0000\n{data(case.name)}"
    stream += "from refs/heads/main\n" + "".join(f"D {path}\n" for path in case.gone)
    for mode, changes in (("100644", case.files), ("120000", case.links)):
        stream += "".join(f"M {mode} inline {path}\n{data(text)}" for path, text in changes.items())
    subprocess.run(
        ["git", "-C", str(repository), "fast-import", "--quiet", "--force"],
        input=stream,
        text=True,
        check=True,
        capture_output=True,
    )
    commit = git.find(SHELL, repository, "hostile")
    with git.worktree(SHELL, repository, commit) as folder:
        if case.after:
            case.after(folder)
        yield folder


def data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_branch_is_refused_before_anything_is_started_in_it(
    repository: Path, settings: Settings, case: Branch
) -> None:
    with worktree_of(repository, case) as folder:
        with pytest.raises(Refused) as refused:
            branch_files.require(folder, settings, SECRETS, DEPLOY, "hostile")
        told = str(refused.value)
        assert case.says in told, told
        assert "copilot" in told.lower() or "Nothing was changed" in told
        assert not any(secret in told for secret in ("deployer's", "/home/ada"))
        every = replace(settings, trusted=frozenset(trust.CHANGES))
        if case.lifted_by:
            assert f"--trust {case.lifted_by}" in told
            some = replace(settings, trusted=frozenset({case.lifted_by}))
            branch_files.require(folder, some, SECRETS, DEPLOY, "hostile")
        else:
            with pytest.raises(Refused):
                branch_files.require(folder, every, SECRETS, DEPLOY, "hostile")
        if not case.after:  # `check` looks at what Git has
            scope = branch_files.Scope(listed=branch_files.listed(folder, SHELL))
            assert branch_files.wrong(folder, settings, SECRETS, scope)


def test_there_are_more_than_forty_of_them_and_each_has_a_name() -> None:
    assert len({case.name for case in HOSTILE}) == len(HOSTILE) >= 40


@pytest.mark.parametrize("case", ORDINARY, ids=lambda case: case.name)
def test_an_ordinary_branch_is_let_through(repository: Path, settings: Settings, case: Branch) -> None:
    with worktree_of(repository, case) as folder:
        branch_files.require(folder, settings, SECRETS, DEPLOY, "ordinary")


def test_copilot_is_not_started_to_render_a_hostile_workspace(repository: Path, settings: Settings) -> None:
    files = CDK | {"copilot/environments/overrides/cdk.json": "{}"}
    shell = FakeShell()
    renderer = Renderer(settings, shell, {}, {})
    with worktree_of(repository, Branch("cdk", files)) as folder:
        with pytest.raises(Refused, match="--trust cdk"):
            renderer.service(folder, "web", "test")
        with pytest.raises(Refused, match="--trust cdk"):
            renderer.environment(folder, "test")
    linked = Branch("linked", {}, {"copilot/environments/test/manifest.yml": "/etc/passwd"})
    with worktree_of(repository, linked) as folder, pytest.raises(Refused, match="out of the repository"):
        renderer.service(folder, "web", "test")
    assert shell.ran == []


def test_the_sandbox_is_not_started_in_a_hostile_workspace(
    repository: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "subprocess", None)  # nothing can be started
    with worktree_of(repository, Branch("link", {}, {"copilot/api": "/etc"})) as folder:
        hostile = Session(replace(settings, root=folder), SHELL, FakeReport(), {})
        with pytest.raises(Refused, match="out of the repository"):
            hostile.child_environment(start=True)
        with (
            pytest.raises(Refused, match="out of the repository"),
            hostile.rendering_environment(["test"], "", alone=False),
        ):
            pass


def test_this_repository_is_let_through_whole() -> None:
    root = Path(__file__).parents[2]
    listed = branch_files.listed(root, SHELL)
    assert len(listed) > 100
    scope = branch_files.Scope(listed=listed)
    assert branch_files.wrong(root, load(root, {}), SECRETS, scope) == []


def test_in_a_larger_repository_paths_may_leave_the_workspace_but_not_the_repository(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet")
    for path, text in BASE.items():
        (tmp_path / "shop" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / path).write_text(text)
    manifest = tmp_path / "shop/copilot/web/manifest.yml"
    (tmp_path / "shared").mkdir()
    settings = load(tmp_path / "shop", {})
    manifest.write_text(
        BASE["copilot/web/manifest.yml"].replace("build: Dockerfile", "build: {context: ../shared}")
    )
    branch_files.require(tmp_path / "shop", settings, {}, DEPLOY)
    manifest.write_text(
        BASE["copilot/web/manifest.yml"].replace("build: Dockerfile", "build: {context: ../..}")
    )
    with pytest.raises(Refused, match="out of the repository"):
        branch_files.require(tmp_path / "shop", settings, {}, DEPLOY)


def test_a_variable_is_handed_on_by_its_name_only(repository: Path, settings: Settings) -> None:
    case = Branch(
        "tag", {"copilot/web/manifest.yml": BASE["copilot/web/manifest.yml"] + "variables: {A: '${TAG}'}\n"}
    )
    with worktree_of(repository, case) as folder:
        with pytest.raises(Refused, match=r"manifest.yml:10 of hostile.*MANIFEST_VARIABLES=TAG"):
            branch_files.require(folder, settings, {}, DEPLOY, "hostile")
        named = load(repository, {"MANIFEST_VARIABLES": "OTHER, TAG"})
        assert named.manifest_variables == ("OTHER", "TAG")
        branch_files.require(folder, named, {"TAG": "1"}, DEPLOY, "hostile")


def test_a_variable_that_was_handed_on_leads_no_path_out(repository: Path) -> None:
    settings = load(repository, {"MANIFEST_VARIABLES": "CONFIG"})
    text = BASE["copilot/web/manifest.yml"] + "env_file: '${CONFIG}/a.env'\n"
    with worktree_of(repository, Branch("handed on", {"copilot/web/manifest.yml": text})) as folder:
        branch_files.require(folder, settings, {"CONFIG": "config"}, DEPLOY, "hostile")
        with pytest.raises(Refused, match="out of the repository"):
            branch_files.require(folder, settings, {"CONFIG": "../.."}, DEPLOY, "hostile")


@pytest.mark.parametrize(
    "value", ["AWS_REGION", "aws_secret_access_key", "COPILOT_X", "A B", "$X", "A,1B", "A=1"]
)
def test_what_no_manifest_may_have_cannot_be_handed_on(repository: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="MANIFEST_VARIABLES"):
        load(repository, {"MANIFEST_VARIABLES": value})


def test_a_branchs_file_is_put_through_no_filter_that_it_names(repository: Path, tmp_path: Path) -> None:
    """A filter of the user's that is a relative path would be the branch's own program."""
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    seen = tmp_path / "seen"
    (clone / "filter.sh").write_text(f"#!/bin/sh\ntouch {seen}\ncat\n")
    (clone / "filter.sh").chmod(0o755)
    (clone / ".gitattributes").write_text("*.md filter=mine\n")
    (clone / "a.md").write_text("a\n")
    run_git(clone, "add", "--all")
    run_git(clone, "commit", "--quiet", "--message", "hostile")
    for key, value in (("smudge", "./filter.sh"), ("clean", "./filter.sh"), ("required", "true")):
        run_git(clone, "config", f"filter.mine.{key}", value)
    run_git(clone, "config", "core.fsmonitor", "./filter.sh")
    commit = run_git(clone, "-c", "core.fsmonitor=false", "rev-parse", "HEAD")
    seen.unlink(missing_ok=True)
    with git.worktree(SHELL, clone, git.Branch("main", commit)) as folder:
        assert (folder / "a.md").read_text() == "a\n"
    assert not seen.exists()


def test_deployment_json_of_a_branch_is_never_written_through(repository: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    with worktree_of(repository, Branch("link", links={"deployment.json": str(victim)})) as folder:
        assert not (folder / "deployment.json").is_symlink()
    assert victim.read_text() == "kept"


def test_the_refusal_of_several_names_one_and_how_many_more(repository: Path, settings: Settings) -> None:
    text = BASE["copilot/web/manifest.yml"] + "env_file: ../a\nvariables: {A: '${HOME}'}\n"
    case = Branch("two", {"copilot/web/manifest.yml": text})
    with worktree_of(repository, case) as folder, pytest.raises(Refused, match=r"1 more like it"):
        branch_files.require(folder, settings, {}, DEPLOY, "hostile")
