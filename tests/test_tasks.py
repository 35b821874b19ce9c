from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke import Argument, Collection, Program

import reference
from copilot_testenv.menu import SHORT_FLAGS

ROOT = Path(__file__).parent.parent
NAMES = (
    "sleep",
    "wake",
    "deploy-test",
    "teardown",
    "status",
    "logs",
    "copy-db",
    "open",
    "exec",
    "extend",
    "cost",
    "create-env",
    "adopt",
    "sandbox",
    "sidecar-config",
    "check",
    "package",
)

_watching: list[str] | None = None


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _watching is not None and event in {
        "subprocess.Popen",
        "os.fork",
        "os.posix_spawn",
        "os.exec",
        "os.system",
    }:
        _watching.append(f"{event} {args[:2]}")


sys.addaudithook(_audit)


class Ran:
    """How `invoke …` ended in this process: its code, its two outputs and every process it started."""

    def __init__(self, *words: str) -> None:
        global _watching  # noqa: PLW0603 - an audit hook cannot be taken away, so it looks at a switch
        out, err = io.StringIO(), io.StringIO()
        _watching = []
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(ROOT):
                try:
                    Program().run(["invoke", *words])
                    self.code: Any = 0
                except SystemExit as end:
                    self.code = end.code or 0
        finally:
            self.processes, _watching = _watching, None
        self.out, self.err = out.getvalue(), err.getvalue()


def collection() -> Collection:
    from invoke.loader import FilesystemLoader  # noqa: PLC0415 - only this helper needs it

    module, _ = FilesystemLoader(start=str(ROOT)).load("tasks")
    return Collection.from_module(module)


def flags_of(name: str) -> dict[str, Argument]:
    """The arguments of a task by the names of their long flags, without the dashes."""
    return {argument.names[0]: argument for argument in collection()[name].get_arguments()}


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_into_a_terminal_of_80_columns(name: str) -> None:
    about = Ran(name, "--help").out.partition("Options:")[0].partition("Docstring:")[2]
    assert about.strip()
    assert max(map(len, about.splitlines())) <= 80


def test_the_menu_is_flat_and_holds_the_verbs() -> None:
    assert sorted(collection().task_names) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help_prints_help_with_an_example_and_starts_nothing(name: str) -> None:
    for words in ((name, "--help"), ("--help", name), (name, "-h"), (name, "--yes", "-h")):
        if "--yes" in words and "yes" not in flags_of(name):
            continue
        ran = Ran(*words)
        assert ran.code == 0
        assert "Docstring:" in ran.out
        assert "Example: " in ran.out
        assert f"invoke {name}" in ran.out
        assert ran.processes == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"cost", "logs", "open", "status"}])
def test_a_task_that_changes_something_takes_yes_and_plan(name: str) -> None:
    assert {"plan", "yes"} <= flags_of(name).keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_has_help_that_names_its_default(name: str) -> None:
    task = collection()[name]
    for argument in task.get_arguments():
        assert not argument.positional
        assert argument.help, argument.name
        assert "default" in argument.help, argument.name


@pytest.mark.parametrize("name", NAMES)
def test_a_short_flag_is_one_of_the_table_and_means_the_same_on_each_task(name: str) -> None:
    for long, argument in flags_of(name).items():
        assert argument.nicknames == ((SHORT_FLAGS[long],) if long in SHORT_FLAGS else ())


def test_no_short_flag_takes_the_one_for_help() -> None:
    assert SHORT_FLAGS == {"branch": "b", "plan": "p", "yes": "y"}


def test_a_short_flag_is_taken_for_its_long_one() -> None:
    ran = Ran("teardown", "-b=-x", "-py")
    assert (ran.code, ran.processes) == (1, [])
    assert "'-x'" in ran.err


@pytest.mark.parametrize("flag", ["--dry", "-R", "-e", "-w", "--echo", "--hide=out"])
@pytest.mark.parametrize("before", [False, True])
def test_a_flag_of_invoke_itself_is_refused_before_any_process_starts(flag: str, *, before: bool) -> None:
    ran = Ran(*((flag, "teardown", "--yes") if before else ("teardown", "--yes", flag)))
    assert (ran.code, ran.processes) == (1, [])
    assert "flag of Invoke itself" in ran.err


def test_a_value_without_a_flag_is_a_usage_error() -> None:
    ran = Ran("deploy-test", "main")
    assert (ran.code, ran.processes) == (1, [])
    assert ran.err == (
        "main is no task; if it is a value for deploy-test, name its flag. "
        "`invoke deploy-test --help` shows its flags.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deply-test",), "There is no task deply-test (did you mean deploy-test?)."),
        (("--help", "statsu"), "There is no task statsu (did you mean status?)."),
        (("zzz",), "There is no task zzz. `invoke --list` shows the tasks."),
        (("teardown", "--expried"), "teardown has no flag --expried (did you mean --expired?)."),
        (("copy-db", "-q"), "copy-db has no flag -q. `invoke copy-db --help` shows its flags."),
        (("a\x1b[2Kb",), "There is no task a\\x1b[2Kb."),
    ],
)
def test_an_unknown_task_or_flag_is_told_with_the_nearest(words: tuple[str, ...], said: str) -> None:
    ran = Ran(*words)
    assert (ran.code, ran.out, ran.processes) == (1, "", [])
    assert ran.err.startswith(said)


@pytest.mark.parametrize(
    ("test_env", "code"), [("", 2), (" ", 2), ("production", 3), ("Prod", 3), ("stage", 3), ("tset", 2)]
)
@pytest.mark.parametrize(
    "words",
    [
        ("teardown", "--yes"),
        ("deploy-test", "--branch", "main"),
        ("extend", "--branch", "main", "--keep"),
        ("copy-db", "--yes"),
        ("create-env", "--yes"),
    ],
)
def test_a_wrong_test_environment_is_refused_before_any_process_starts(
    monkeypatch: pytest.MonkeyPatch, test_env: str, code: int, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TEST_ENV", test_env)
    ran = Ran(*words)
    assert ran.code == code
    assert ran.processes == []
    assert "TEST_ENV" in ran.err
    assert "Traceback" not in ran.err


def test_the_watch_over_processes_sees_one() -> None:
    global _watching  # noqa: PLW0603 - see Ran
    _watching = []
    os.system("true")  # noqa: S605 - the very thing the watch must see
    seen, _watching = _watching, None
    assert seen


@pytest.mark.parametrize(
    "words",
    [
        ("deploy-test", "--branch", ""),
        ("deploy-test", "--branch=-x"),
        ("teardown", "--branch=-x"),
        ("extend", "--keep"),
        ("extend", "--branch", "main"),
        ("extend", "--branch", "main", "--until", "5d", "--keep"),
    ],
)
def test_a_missing_or_impossible_branch_is_a_usage_error(words: tuple[str, ...]) -> None:
    ran = Ran(*words)
    assert ran.code == 1
    assert "branch" in ran.err or "--until" in ran.err
    assert ran.processes == []


def test_with_json_an_error_is_a_document_too() -> None:
    ran = Ran("deploy-test", "--branch=-x", "--json")
    assert json.loads(ran.out) == {"error": ran.err.strip(), "exit_code": 1}
    assert Ran("deploy-test", "--branch=-x").out == ""


def test_what_a_deployment_costs_is_told_without_a_process() -> None:
    ran = Ran("cost", "--region", "eu-west-1")
    assert (ran.code, ran.processes) == (0, [])
    assert "Fargate Spot" in ran.out
    assert "typical" in ran.err


def test_in_ci_an_unset_target_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    ran = Ran("deploy-test", "--branch", "main")
    assert (ran.code, ran.processes) == (2, [])
    assert "DEPLOY_TARGET" in ran.err


def test_listing_the_tasks_imports_nothing_heavy() -> None:
    import subprocess  # noqa: PLC0415 - only here a process is started on purpose

    code = (
        "import sys; sys.path.insert(0, '.'); import tasks;"
        "heavy = ('boto3', 'moto', 'rich', 'psycopg', 'yaml', 'psutil', 'django');"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"yaml"}  # Invoke itself may bring yaml


def test_the_rules_of_check_import_nothing_that_takes_long() -> None:
    import subprocess  # noqa: PLC0415 - only here a process is started on purpose

    code = (
        "import sys; sys.path.insert(0, 'scripts'); import copilot_testenv.check.workflow;"
        "heavy = ('boto3', 'botocore', 'moto', 'rich', 'cfnlint', 'cryptography', 'copilot_sandbox');"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_readmes_first_code_block_holds_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    first = readme.split("```")[1].splitlines()[1:]
    assert len(first) == 2
    assert first[0].endswith("invoke deploy-test --branch main")
    assert first[1] in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_task_stands_in_the_readmes_table(name: str) -> None:
    assert (ROOT / "README.md").read_text().count(f"\n| `{name}` |") == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_stands_in_the_reference(name: str) -> None:
    section = reference.FILE.read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert [long for long in flags_of(name) if f"| `--{long}" not in section] == []


def test_the_reference_is_what_the_tasks_say() -> None:
    """It is renewed by a command, never by hand, and the same tasks give the same page."""
    assert reference.text() == reference.text()
    assert reference.FILE.read_text() == reference.text(), f"It is stale: renew it by `{reference.COMMAND}`."
