from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from copilot_sandbox import cli, lifecycle, workspace
from copilot_sandbox.errors import Failed
from copilot_sandbox.state import State

PACKAGE = Path(cli.__file__).parent
OF_PLANE = {"AWS_ACCESS_KEY_ID": "AKIASANDBOX", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_PROFILE": None}


@pytest.fixture
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace)
    return workspace


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A sandbox that is entered without being started; the folders it was entered for."""
    entered: list[Path] = []

    def enter(root: Path, *_: object) -> Mapping[str, str | None]:
        entered.append(root)
        State(root).create()
        return {**OF_PLANE, "PATH": os.environ["PATH"]}

    monkeypatch.setattr(lifecycle, "enter", enter)
    return entered


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "copilot_sandbox", *words],
        check=False, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [(), ("begin",), ("start", "now"), ("start", "--", "copilot"), ("exec",), ("exec", "--"),
     ("exec", "copilot"), ("stop", "--yes"), ("--", "copilot")],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exits_1(
    words: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = cli.main(words)
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("copilot-sandbox")
    assert not (here / ".sandbox").exists()


def test_the_module_is_the_command_and_help_exits_0(tmp_path: Path) -> None:
    done = run("exec", "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: copilot-sandbox exec")


@pytest.mark.parametrize("command", ["stop", "reset", "status"])
def test_what_needs_a_workspace_exits_2_outside_of_one(command: str, tmp_path: Path) -> None:
    done = run(command, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no copilot/" in done.stderr


def test_a_workspace_whose_application_cannot_be_read_exits_2(here: Path) -> None:
    (here / "copilot/.workspace").write_text("[\n")
    done = run("exec", "--", "true", folder=here)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert ".workspace cannot be read" in done.stderr


def test_failures_exit_4_and_an_interruption_130(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here
    for error, code in ((Failed("no"), 4), (OSError("disk full"), 4), (KeyboardInterrupt(), 130)):

        def enter(*_: object, raised: BaseException = error) -> None:
            raise raised

        monkeypatch.setattr(lifecycle, "enter", enter)
        assert cli.main(["exec", "--", "true"]) == code
        assert capsys.readouterr().err.count("\n") == 1


def test_a_sandbox_that_does_not_run_has_a_status_and_is_stopped_twice(here: Path) -> None:
    (here / "copilot/web/deeper").mkdir()
    status = run("status", folder=here / "copilot/web/deeper")
    assert (status.returncode, status.stdout) == (0, f"The sandbox of {here} does not run.\n")
    for _ in range(2):
        assert run("stop", folder=here).returncode == 0


def test_reset_asks_and_no_terminal_means_no(here: Path) -> None:
    state = State(here)
    state.create()
    done = run("reset", folder=here)
    assert (done.returncode, done.stdout) == (4, "")
    assert "--yes" in done.stderr
    assert state.folder.is_dir()
    assert run("reset", "--yes", folder=here).returncode == 0
    assert not state.folder.exists()


def test_exec_becomes_the_command_with_the_sandboxs_variables(
    here: Path, running: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setenv("AWS_PROFILE", "the user's")
    monkeypatch.setattr(os, "execvpe", lambda _program, words, env: ran.append((words, env)))
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    cli.main(["exec", "--", "copilot", "svc", "ls", "--", "--json"])
    ((words, env),) = ran
    assert words == ["copilot", "svc", "ls", "--", "--json"]
    assert running == [here]
    assert "AWS_PROFILE" not in env
    assert env["PATH"].split(os.pathsep)[-1] == str(Path(sys.executable).parent)
    profiles = Path(env["AWS_SHARED_CREDENTIALS_FILE"])
    assert stat.S_IMODE(profiles.stat().st_mode) == 0o600
    assert profiles.read_text().splitlines()[0] == "[sandbox]"


def test_a_command_that_is_not_there_exits_4(
    here: Path, running: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    assert cli.main(["exec", "--", "no-such-command"]) == 4
    assert capsys.readouterr().err == (
        "copilot-sandbox: `no-such-command` cannot be run: No such file or directory.\n"
    )
    assert running == [here]


def test_a_folder_without_a_workspace_begins_one(tmp_path: Path) -> None:
    found = workspace.find_or_begin(tmp_path)
    assert (found.root, found.application, found.environments(), found.workloads) == (tmp_path, "", [], {})
    (tmp_path / "copilot").mkdir()
    (tmp_path / "below").mkdir()
    assert workspace.find_or_begin(tmp_path / "below").root == tmp_path


def test_a_workspace_is_described_by_its_manifests(here: Path) -> None:
    for name, text in {
        "job": "name: job\ntype: Scheduled Job\n",
        "broken": "type: [\n",
        "list": "- 1\n",
        "environments/qa": "name: qa\nnetwork: {vpc: {id: '${VPC_ID}'}}\n",
    }.items():
        (here / "copilot" / name).mkdir()
        (here / "copilot" / name / "manifest.yml").write_text(text)
    (here / "copilot/environments/empty").mkdir()
    found = workspace.find(here)
    assert found.workloads == {"job": "Scheduled Job", "web": "Load Balanced Web Service"}
    assert found.environments() == ["production", "qa", "stage", "test"]
    assert found.databases == ("production", "qa", "stage", "test")
    assert found.variables == ("VPC_ID",)


@pytest.mark.parametrize(
    "stage", [None, workspace.Stage("/c", "/c/Dockerfile", "fill", 5, "then", {"A": "b"}, "app")]
)
def test_a_workspace_is_read_as_it_was_written(here: Path, stage: workspace.Stage | None) -> None:
    for found in (
        workspace.find(here),
        workspace.Workspace(here, "demo", "web", ("A",), {"test": {"a": "b"}}, stage),
    ):
        found.write(here / "workspace.json")
        assert workspace.read(here / "workspace.json") == found


def test_nothing_of_the_tasks_or_of_the_runtime_is_imported() -> None:
    imported: dict[str, list[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            imported.setdefault(str(file.relative_to(PACKAGE)), []).extend(names)
    assert len(imported) > 80
    others = {"copilot_testenv", "django_testenv", "django", "invoke"}
    found = {
        file: names for file, names in imported.items() if others & {name.split(".")[0] for name in names}
    }
    assert found == {}
