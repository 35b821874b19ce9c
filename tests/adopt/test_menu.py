"""The menu: a `tasks.py` of three lines, or a few at the end of one of theirs, as Invoke itself reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adopt.project import adopt, adopted, files, install, start_project

_OURS = ("deploy-test", "teardown", "copy-db", "status")
_THEIRS = {
    "tasks of the module": "from invoke import task\n\n\n@task\ndef build(c):\n    '''Theirs.'''\n",
    "ns": "from invoke import Collection, task\n\n\n@task\ndef build(c):\n    '''Theirs.'''\n\n\n"
    "ns = Collection(build)\n",
    "namespace": "from invoke import Collection, task\n\n\n@task\ndef build(c):\n    '''Theirs.'''\n\n\n"
    "namespace = Collection()\nnamespace.add_task(build)",
}


def listed(folder: Path, *, installed: Path | None) -> list[str]:
    """The names that `invoke --list` has, in an environment with our wheels or without them."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"],
        cwd=folder, env={**environ, **({"PYTHONPATH": str(installed)} if installed else {})},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [line.split()[0] for line in done.stdout.splitlines()[2:] if line.strip()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, real_wheels: dict[str, bytes]) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    (folder / "vendor").mkdir()
    for name, content in real_wheels.items():
        (folder / "vendor" / name).write_bytes(content)
    return install(folder, folder / "site")


def test_a_fresh_menu_has_our_tasks(project: Path, installed: Path) -> None:
    adopt(project)
    assert set(_OURS) <= set(listed(project, installed=installed))
    assert len((project / "tasks.py").read_text().splitlines()) == 5  # three, an empty one and the stamp


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("own", _THEIRS.values(), ids=_THEIRS.keys())
def test_a_menu_of_theirs_has_both_and_works_without_ours(
    tmp_path: Path, installed: Path, own: str, end: str
) -> None:
    folder = start_project(tmp_path / "shop", {"tasks.py": own.replace("\n", end)})
    adopt(folder)
    assert (folder / "tasks.py").read_bytes().decode().startswith(own.replace("\n", end))
    assert {"build", *_OURS} <= set(listed(folder, installed=installed))
    assert listed(folder, installed=None) == ["build"]


def test_modules_of_theirs_with_names_like_ours_do_not_stand_in_the_tasks_way(
    tmp_path: Path, installed: Path
) -> None:
    broken = "raise SystemExit('not for these tasks')\n"
    names = (
        "scripts/__init__.py",
        "scripts/report.py",
        "menu.py",
        "session.py",
        "core/__init__.py",
        "aws.py",
    )
    folder = adopted(start_project(tmp_path / "shop", dict.fromkeys(names, broken)))
    assert set(_OURS) <= set(listed(folder, installed=installed))


def test_a_task_of_theirs_keeps_its_name(tmp_path: Path, installed: Path) -> None:
    own = "from invoke import task\n\n\n@task\ndef status(c):\n    '''Theirs.'''\n"
    folder = start_project(tmp_path / "shop", {"tasks.py": own})
    adopt(folder)
    assert {"status", "testenv-status"} <= set(listed(folder, installed=installed))


def test_a_menu_that_is_a_package_is_added_to_and_no_module_stands_beside_it(
    tmp_path: Path, installed: Path
) -> None:
    own = {"tasks/__init__.py": "from invoke import task\n\nfrom tasks.more import build\n",
           "tasks/more.py": _THEIRS["tasks of the module"]}  # fmt: skip
    folder = adopted(start_project(tmp_path / "shop", own))
    assert not (folder / "tasks.py").exists()
    assert {"build", *_OURS} <= set(listed(folder, installed=installed))
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_a_package_of_that_name_that_is_none_of_invokes_is_left_and_said(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop", {"tasks/__init__.py": "", "tasks/models.py": ""})
    report = adopt(folder)
    assert (folder / "tasks/__init__.py").read_text() == ""
    assert "tasks.py" not in files(folder)
    assert any("`invoke --collection testenv`" in line for line in report.said)
