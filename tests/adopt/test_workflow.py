"""What `adopt` adds to a project, shows, asks and writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from copilot_testenv.adopt import changes, workflow
from copilot_testenv.adopt.changes import Change
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError
from tests.adopt.project import (
    MANIFEST,
    WHEELS,
    adopt,
    adopted,
    commit,
    files,
    git,
    session,
    start_project,
    three_containers,
)
from tests.fakes import FakeReport

_MOST_FILES, _MOST_LINES = 12, 500


def test_a_fresh_project_gets_a_dozen_thin_files_and_a_second_run_changes_nothing(project: Path) -> None:
    before = files(project)
    report = adopt(project)
    after = files(project)
    assert set(after) - set(before) == {
        "tasks.py", "copilot-testenv.toml", "requirements-testenv.txt", "Dockerfile", ".dockerignore",
        ".gitignore", "copilot/web/overrides/cfn.patches.yml",
        "copilot/environments/overrides/cfn.patches.yml", *(f"vendor/{name}" for name in WHEELS),
    }  # fmt: skip
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"copilot/web/manifest.yml", "mysite/settings.py"}
    for name in changed:  # all that was there stands where it stood
        assert after[name].startswith(before[name])
    assert "Written: " in report.said[-1]

    commit(project)
    again = adopt(project)
    assert again.said[-1] == "Nothing to do: all that can be added is there."
    assert again.printed == []
    assert files(project) == after


def test_a_project_without_an_environment_gets_twelve_files_and_few_lines(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop")
    git(folder, "rm", "--quiet", "-r", "copilot/environments")
    commit(folder)
    adopted(folder)
    added = git(folder, "diff", "--name-only", "--diff-filter=A", "HEAD~1").splitlines()
    numbers = git(folder, "diff", "--numstat", "HEAD~1").splitlines()
    lines = sum(int(line.split()[0]) for line in numbers if line[0] != "-" and "requirements" not in line)
    assert len(added) <= _MOST_FILES, added
    assert lines <= _MOST_LINES
    assert not any(name.startswith("scripts/") for name in added)


@pytest.mark.parametrize(
    "start",
    [
        lambda folder: start_project(folder, {"tasks.py": "from invoke import task\n"}),
        lambda folder: start_project(folder, {"tasks.py": "import invoke\nns = invoke.Collection()\n"}),
        lambda folder: start_project(
            folder, {"Dockerfile": "FROM python\r\nCOPY a b\r\n", "tasks.py": "import invoke\r\n"},
            manifest=MANIFEST.replace("\n", "\r\n"),
        ),
        three_containers,
    ],
    ids=["tasks of theirs", "a Collection of theirs", "CRLF", "three containers"],
)  # fmt: skip
def test_a_second_run_changes_nothing(tmp_path: Path, start: Callable[[Path], Path]) -> None:
    folder = adopted(start(tmp_path / "shop"))
    assert adopt(folder).said[-1] == "Nothing to do: all that can be added is there."
    assert git(folder, "status", "--porcelain") == ""
    adopt(folder, check=True)


def test_the_plan_and_a_no_change_nothing(project: Path) -> None:
    before = files(project)
    report = adopt(project, yes=False, plan=True)
    assert any("+++ b/mysite/settings.py" in text for text in report.printed)
    assert any("  requirements-testenv.txt\n" in text for text in report.printed)
    with pytest.raises(Refused, match="Nothing was changed"):
        adopt(project, yes=False)
    assert files(project) == before


def test_check_says_what_is_behind_with_exit_code_2_and_writes_nothing(project: Path) -> None:
    before = files(project)
    with pytest.raises(SettingsError, match=r"Behind this version: 13 files: \.dockerignore, ") as raised:
        adopt(project, check=True)
    assert raised.value.exit_code == 2
    assert files(project) == before
    adopted(project)
    assert adopt(project, check=True).said[-1] == "All that `adopt` has written is as this version writes it."
    (project / "copilot-testenv.toml").unlink()
    with pytest.raises(SettingsError, match=r"Behind this version: 1 file: copilot-testenv\.toml\."):
        adopt(project, check=True)


def test_a_file_to_take_that_nothing_is_about_is_a_usage_error(project: Path) -> None:
    adopted(project)
    with pytest.raises(UsageError, match=r"--take settings\.py: nothing is left or written there"):
        adopt(project, take="settings.py")


def test_what_stands_there_already_is_never_overwritten(tmp_path: Path) -> None:
    own = {
        "noxfile.py": "import nox\n",
        ".env.example": "MINE=1\n",
        "requirements.txt": "Django\n",
        "scripts/__init__.py": "",
        "scripts/menu.py": "# mine\n",
        "test_environments.py": "# mine\n",
        "vendor/mine-1.0-py3-none-any.whl": "mine",
        "copilot/web/overrides/cfn.patches.yml": "[]\n",
        "copilot/environments/overrides/cdk.json": "{}\n",
    }
    added_to = {
        "tasks.py": "from invoke import task\n",
        ".dockerignore": "*\n!mysite\n",
        ".gitignore": "*.pyc\n",
    }
    folder = start_project(tmp_path / "shop", own | added_to)
    report = adopt(folder)
    for name, text in own.items():
        assert (folder / name).read_text() == text, name
    for name, text in added_to.items():
        assert (folder / name).read_text().startswith(text), name
    left = "\n".join(line for line in report.said if line.startswith("Left as it is: "))
    for name in ("copilot/web/overrides/cfn.patches.yml", "copilot/environments/overrides"):
        assert f"Left as it is: {name}: " in left
    commit(folder)
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("http:\n", "http: false\nx-http:\n"),
        ("http:\n", "x-http:\n"),
        ("cpu: 256 ", "environments:\n  production:\n    http: false\ncpu: 256 "),
    ],
    ids=["off in the base", "absent", "off in a block"],
)
def test_where_no_load_balancer_listens_the_service_gets_no_patches(
    tmp_path: Path, there: str, instead: str
) -> None:
    assert there in MANIFEST
    folder = start_project(tmp_path / "shop", manifest=MANIFEST.replace(there, instead))
    report = adopt(folder)
    path = "copilot/web/overrides/cfn.patches.yml"
    assert not (folder / path).exists()
    assert (folder / "copilot/environments/overrides/cfn.patches.yml").exists()
    left = [line for line in report.said if line.startswith(f"Left as it is: {path}: ")]
    assert len(left) == 1
    assert "RulePriorityFunction" in left[0]
    assert "`invoke check --fix` writes" in left[0]


@pytest.mark.parametrize(
    ("there", "added"),
    [
        (None, ".env\n.sandbox.env\n.sandbox/\n.worktrees/\n.testenv/\n"),
        ("*.pyc\r\n/.testenv\r\n# .env\r\n", ".env\r\n.sandbox.env\r\n.sandbox/\r\n.worktrees/\r\n"),
        (".env\n.worktrees/\n.testenv", "\n.sandbox.env\n.sandbox/\n"),
        (".testenv\n.worktrees\n.sandbox\n/.env\n.sandbox.env", ""),
    ],
)
def test_git_is_told_to_ignore_what_is_nothing_to_commit(
    tmp_path: Path, there: str | None, added: str
) -> None:
    folder = start_project(tmp_path / "shop", {} if there is None else {".gitignore": there})
    report = adopt(folder)
    assert (folder / ".gitignore").read_bytes().decode() == (there or "") + added
    assert any("+++ b/.gitignore" in text for text in report.printed) == bool(added)


@dataclass
class Meanwhile(FakeReport):
    """A person who does something else before the answer, which is yes."""

    before: Callable[[], object] = lambda: None

    def ask(self, question: str) -> bool:
        self.before()
        return super().ask(question)


def adopt_while(folder: Path, happens: Callable[[], object]) -> None:
    here, _ = session()
    here = replace(here, report=Meanwhile(answer=True, before=happens))
    workflow.adopt(here, workflow.Options(str(folder)))


@pytest.mark.parametrize("name", ["mysite/settings.py", "copilot/web/manifest.yml", "tasks.py"])
def test_what_is_edited_or_made_while_the_question_waits_is_kept(project: Path, name: str) -> None:
    file = project / name
    mine = (file.read_text() if file.exists() else "") + "# mine\n"
    with pytest.raises(Refused, match=rf"{name} was changed meanwhile, so it was left alone: run this again"):
        adopt_while(project, lambda: file.write_text(mine))
    assert file.read_text() == mine


def test_a_folder_that_becomes_a_link_while_the_question_waits_is_not_written_into(
    project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"

    def move_out() -> None:
        (project / "mysite").rename(outside)
        (project / "mysite").symlink_to(outside)

    with pytest.raises(Refused, match="mysite leads elsewhere"):
        adopt_while(project, move_out)
    assert "testenv" not in (outside / "settings.py").read_text()


def test_an_edited_file_keeps_its_mode(project: Path) -> None:
    (project / "mysite/settings.py").chmod(0o755)
    commit(project)
    adopt(project)
    assert (project / "mysite/settings.py").stat().st_mode & 0o777 == 0o755


def test_a_file_that_cannot_be_written_is_named_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no folder")
    with pytest.raises(Failed, match=r"a/b could not be written: .*run it again"):
        changes.write(tmp_path, tmp_path, [Change("a/b", None, b"x")])
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
