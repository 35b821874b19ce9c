from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from copilot_testenv.aws.stack import tag_value
from copilot_testenv.copilot import images
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed, SettingsError, UsageError
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import NAME, Settings
from tests.fakes import FakeShell

SHELL = RealShell()
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")


def run_git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *IDENTITY, "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of an origin whose branch `late` came after the clone."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    run_git(origin, "init", "--quiet")
    (origin / "file").write_text("one")
    run_git(origin, "add", "file")
    run_git(origin, "commit", "--quiet", "-m", "one")
    run_git(tmp_path, "clone", "--quiet", str(origin), str(clone))
    run_git(origin, "checkout", "--quiet", "-b", "late")
    (origin / "file").write_text("two")
    run_git(origin, "commit", "--quiet", "-am", "two")
    return clone


def test_a_local_branch_is_found(clone: Path) -> None:
    assert git.find(SHELL, clone, "main").commit == run_git(clone, "rev-parse", "main")


def test_a_branch_that_is_not_here_is_fetched(clone: Path) -> None:
    found = git.find(SHELL, clone, "late")
    assert found.commit == run_git(clone.parent / "origin", "rev-parse", "late")


def test_a_local_branch_that_differs_from_origins_is_used_and_said(clone: Path) -> None:
    (clone / "file").write_text("mine")
    run_git(clone, "commit", "--quiet", "-am", "mine")
    found = git.find(SHELL, clone, "main")
    assert found.commit == run_git(clone, "rev-parse", "main")
    assert "the local one is deployed" in found.note


def test_the_checked_out_branch_and_what_is_not_committed_are_known(clone: Path, tmp_path: Path) -> None:
    assert (git.current(SHELL, clone), git.uncommitted(SHELL, clone)) == ("main", 0)
    (clone / "file").write_text("two")
    (clone / "new\nfile").touch()
    assert git.uncommitted(SHELL, clone) == 2
    run_git(clone, "checkout", "--quiet", "--detach")
    assert git.current(SHELL, clone) == git.current(SHELL, tmp_path) == ""
    assert git.uncommitted(SHELL, tmp_path) == 0


def test_no_program_of_the_branch_runs_to_see_what_is_not_committed(clone: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in ("filter.x.clean", "filter.x.smudge", "core.fsmonitor"):
        run_git(clone, "config", name, f"touch {ran}; cat")
    (clone / ".gitattributes").write_text("* filter=x\n")
    (clone / "file").write_text("two")
    assert git.uncommitted(SHELL, clone) == 2
    assert not ran.exists()


def test_an_unknown_branch_is_a_failure_with_gits_reason(clone: Path) -> None:
    with pytest.raises(Failed, match="nothing-like-it"):
        git.find(SHELL, clone, "nothing-like-it")


def test_an_unknown_branch_is_told_with_the_nearest_one(clone: Path) -> None:
    run_git(clone, "branch", "feature/weight")
    with pytest.raises(Failed, match=r"Did you mean 'feature/weight'\?"):
        git.find(SHELL, clone, "feature/wieght")


def test_outside_a_repository_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a Git repository"):
        git.find(SHELL, tmp_path, "main")


def test_the_worktree_holds_the_commit_names_it_and_goes_away(clone: Path) -> None:
    (clone / "file").write_text("uncommitted work")
    found = git.find(SHELL, clone, "late")
    with git.worktree(SHELL, clone, found) as folder:
        assert (folder / "file").read_text() == "two"
        named = json.loads((folder / "deployment.json").read_text())
        assert named == {"branch": "late", "commit": found.commit}
    deployed = {"deploy": "2026-11-22T10:00:00Z", "environment": "test", "deployed_by": "ada@example.org"}
    with git.worktree(SHELL, clone, found, deployed) as folder:
        named = json.loads((folder / "deployment.json").read_text())
        assert named == {"branch": "late", "commit": found.commit, **deployed}
    assert not folder.exists()
    assert (clone / "file").read_text() == "uncommitted work"
    assert run_git(clone, "worktree", "list").count("\n") == 0
    assert run_git(clone, "status", "--porcelain") == "M file"


def test_the_worktree_goes_away_when_the_deploy_fails(clone: Path) -> None:
    found = git.find(SHELL, clone, "main")
    with pytest.raises(RuntimeError), git.worktree(SHELL, clone, found) as folder:
        raise RuntimeError
    assert not folder.exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "-rf",
        "--upload-pack=x",
        "a b",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a\nb",
        "x.lock",
        "/a",
        "a/",
        "@{-1}",
    ],
)
def test_what_git_would_refuse_never_reaches_a_process(name: str, tmp_path: Path) -> None:
    shell = FakeShell()
    with pytest.raises(UsageError):
        git.find(shell, tmp_path, name)
    assert shell.ran == []


@pytest.mark.parametrize(
    "name", ["feature/x", "fix-#12", "käse", "a,b=c", "$(reboot)", "a;b", "UPPER", "9lives"]
)
def test_odd_but_lawful_names_pass(name: str) -> None:
    assert git.check_name(name) == name


def test_a_plain_name_is_its_own_slug() -> None:
    assert git.slug("checkout") == "checkout"
    assert re.fullmatch(r"feature-x-[0-9a-f]{7}", git.slug("feature/x"))


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_slugs_are_labels_and_two_names_never_share_one(one: str, other: str) -> None:
    slug = git.slug(one)
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug)
    assert len(slug) <= git.SLUG_LENGTH
    assert (slug == git.slug(other)) == (one == other)


HOSTILE = (
    st.text(min_size=1, max_size=120)
    | st.from_regex(r"[a-zA-Z0-9./_-]{1,60}", fullmatch=True)
    | st.sampled_from(["$(reboot)", "a,b=c", "--env=production", "web; rm -rf /", "..", "käse/ß", "x" * 190])
    | st.builds("{}/{}".format, st.sampled_from(["feature", "Feature", "fix"]), st.text(max_size=40))
)


@example_settings(
    max_examples=10 * example_settings().max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=HOSTILE)
def test_a_slug_is_valid_wherever_it_goes_and_no_command_line_holds_more(
    name: str, settings: Settings
) -> None:
    other = SEEN.setdefault(git.slug(name), name)
    assert other == name  # no two names share one
    own = settings.isolated_for(git.slug(name))
    assert NAME.fullmatch(own.service)  # Copilot's rule for a service
    assert len(own.service) <= 32  # as long as the name of a target group
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,127}", own.stack_name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", own.slug)  # a label of a host name
    assert re.fullmatch(r"_[a-z0-9_]{1,24}", own.database_suffix)
    assert len(f"{'x' * 29}{own.database_suffix}_replaced") <= 63  # bytes of a Postgres identifier
    tag = images.tag(own.test_env, "c" * 40)
    assert re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", tag)
    with suppress(SettingsError):  # of a name that no tag can hold
        tags = {"branch": tag_value(name)}
        here = Copilot(own, {}, own.root, "demo/test")
        for command in (here.deploy(tag, tags), here.service_delete()):
            for word in command.argv[1:]:
                assert re.fullmatch(WORDS, word), word
        words = here.deploy(tag, tags).argv
        assert f"--name={own.service}" in words
        assert "--env=test" in here.service_delete().argv


SEEN: dict[str, str] = {}
WORDS = (
    r"deploy|svc|delete|--yes|--deploy-env=false|--app=demo|--env=test|--name=web-[a-z0-9-]+|--tag=[a-z0-9-]+"
    r"|--resource-tags=branch=[A-Za-z0-9_.:/@ +-]*"
)


def test_a_commit_that_somebody_else_deployed_is_fetched(clone: Path) -> None:
    commit = run_git(clone.parent / "origin", "rev-parse", "late")
    assert git.at(SHELL, clone, "late", commit) == git.Branch("late", commit)


def test_a_deployed_commit_that_is_nowhere_is_one_clear_line(clone: Path) -> None:
    with pytest.raises(Failed, match="neither in this clone nor on origin"):
        git.at(SHELL, clone, "late", "0" * 40)


def test_a_link_that_the_branch_has_in_the_deployments_files_place_is_not_followed(clone: Path) -> None:
    victim = clone.parent / "victim"
    victim.write_text("precious")
    (clone / "deployment.json").symlink_to(victim)
    run_git(clone, "add", "deployment.json")
    run_git(clone, "commit", "--quiet", "-m", "a trap")
    with git.worktree(SHELL, clone, git.find(SHELL, clone, "main")) as folder:
        assert not (folder / "deployment.json").is_symlink()
    assert victim.read_text() == "precious"


def test_a_folder_in_the_deployments_files_place_is_one_clear_line(clone: Path) -> None:
    (clone / "deployment.json").mkdir()
    (clone / "deployment.json" / "x").write_text("x")
    run_git(clone, "add", "deployment.json")
    run_git(clone, "commit", "--quiet", "-m", "a folder")
    with (
        pytest.raises(Failed, match="cannot be written"),
        git.worktree(SHELL, clone, git.find(SHELL, clone, "main")),
    ):
        pass


@pytest.fixture
def shop(clone: Path) -> Path:
    """A project that is a folder of its repository."""
    folder = clone / "services" / "sh op"
    folder.mkdir(parents=True)
    (folder / "manage.py").write_text("one")
    run_git(clone, "add", "--all")
    run_git(clone, "commit", "--quiet", "-m", "A project below the top")
    return folder


def test_the_worktree_of_a_project_below_the_top_is_its_folder(clone: Path, shop: Path) -> None:
    found = git.find(SHELL, shop, "main")
    with git.worktree(SHELL, shop, found, {"deploy": "now", "environment": "test"}) as folder:
        assert folder.parts[-2:] == ("services", "sh op")
        assert (folder / "manage.py").read_text() == "one"
        assert json.loads((folder / "deployment.json").read_text())["commit"] == found.commit
        top = folder.parents[1]
        assert top.parent == shop / ".worktrees"
        assert not (top / "deployment.json").exists()
    assert not top.exists()
    assert run_git(clone, "worktree", "list").count("\n") == 0
    assert run_git(clone, "status", "--porcelain") == ""


def test_a_branch_without_the_projects_folder_is_one_clear_line(shop: Path) -> None:
    late = git.find(SHELL, shop, "late")
    with (
        pytest.raises(SettingsError, match=rf"^late has no folder services/sh op/ at {late.commit[:12]}\.$"),
        git.worktree(SHELL, shop, late),
    ):
        pass
    assert [each.name for each in (shop / ".worktrees").iterdir() if each.is_dir()] == []


def test_a_link_that_a_branch_has_in_place_of_the_folder_above_is_not_followed(
    clone: Path, shop: Path
) -> None:
    outside = clone.parent / "outside"
    (outside / "sh op").mkdir(parents=True)
    run_git(clone, "checkout", "--quiet", "-b", "trap")
    run_git(clone, "rm", "--quiet", "-r", "services")
    (clone / "services").symlink_to(outside)
    run_git(clone, "add", "--all")
    run_git(clone, "commit", "--quiet", "-m", "a trap")
    run_git(clone, "checkout", "--quiet", "main")
    with (
        pytest.raises(SettingsError, match="no folder"),
        git.worktree(SHELL, shop, git.find(SHELL, shop, "trap")),
    ):
        pass
    assert list((outside / "sh op").iterdir()) == []


def test_gits_variables_do_not_lead_to_another_repository(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(clone.parent / "origin" / ".git"))
    with pytest.raises(Failed):
        git.find(SHELL, clone, "nothing-like-it")
    found = git.find(SHELL, clone, "main").commit
    monkeypatch.delenv("GIT_DIR")
    assert found == run_git(clone, "rev-parse", "main")


def test_many_deploys_in_one_clone_at_once_each_get_a_worktree(clone: Path) -> None:
    found = git.find(SHELL, clone, "main")

    def check_out(_: int) -> bool:
        with git.worktree(RealShell(), clone, found) as folder:
            return (folder / "file").read_text() == "one"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check_out, range(40)))


KEEP = (
    "import sys, time; from pathlib import Path\n"
    "from copilot_testenv.core import git; from copilot_testenv.core.process import RealShell\n"
    "root = Path(sys.argv[1]); found = git.find(RealShell(), root, 'main')\n"
    "with git.worktree(RealShell(), root, found) as folder:\n    print(folder, flush=True); time.sleep(60)"
)


def test_a_killed_runs_worktree_goes_with_the_next_command_and_a_running_ones_stays(clone: Path) -> None:
    runs = [
        subprocess.Popen([sys.executable, "-c", KEEP, str(clone)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, living = (Path(run.stdout.readline().strip()) for run in runs if run.stdout)
    runs[0].kill()
    runs[0].communicate(timeout=10)
    try:
        git.tidy(SHELL, clone)
        assert not killed.exists()
        assert (living / "file").read_text() == "one"
        assert run_git(clone, "worktree", "list").count("\n") == 1
    finally:
        runs[1].kill()
        runs[1].communicate(timeout=10)
    with git.worktree(SHELL, clone, git.find(SHELL, clone, "main")):
        assert not living.exists()
        assert run_git(clone, "worktree", "list").count("\n") == 1
    assert {each.name for each in (clone / ".worktrees").iterdir()} == {".gitignore", "lock"}


def test_a_worktree_that_git_had_not_finished_when_it_was_killed_goes_too(clone: Path) -> None:
    parent = clone / ".worktrees"
    parent.mkdir()
    folder = parent / "main-killed"
    run_git(clone, "worktree", "add", "--quiet", "--detach", str(folder), "main")
    run_git(clone, "worktree", "lock", "--reason", "initializing", str(folder))
    (parent / "main-killed.lock").touch()
    git.tidy(SHELL, clone)
    assert not folder.exists()
    assert run_git(clone, "worktree", "list").count("\n") == 0
