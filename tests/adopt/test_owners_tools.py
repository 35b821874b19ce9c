"""What the owner's own tools say of a project: after `adopt` exactly what they said before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adopt.project import adopted, start_in_monorepo, start_project

_PYPROJECT = """\
[tool.mypy]
strict = true

[[tool.mypy.overrides]]
module = ["django.*", "invoke.*"]
ignore_missing_imports = true
"""
_OWN = {
    "tasks.py": "from invoke import task\n\n\n@task\ndef build(c):\n    '''Theirs.'''\n",
    "noxfile.py": "import nox\n\n\n@nox.session\ndef tests(session):\n    session.run('pytest')\n",
    "scripts/backup.py": "def backup():\n    return 1\n",
    "tests/test_backup.py": "from scripts.backup import backup\n\n\n"
    "def test_backup():\n    assert backup() == 1\n",
    "mysite/tests.py": "from django.test import SimpleTestCase\n\n\nclass Page(SimpleTestCase):\n"
    "    def test_it(self):\n        self.assertEqual(self.client.get('/healthz').status_code, 404)\n",
    "pyproject.toml": _PYPROJECT,
}
_BASE = {"pyproject.toml": _PYPROJECT, "mysite/tests.py": _OWN["mysite/tests.py"]}
_KEPT = ("PATH", "HOME", "LANG", "MYPY_CACHE_DIR")
_TOOLS = {
    "ruff": ("ruff", "check", "--no-cache", "."),
    "ruff with all rules": ("ruff", "check", "--no-cache", "--output-format=concise", "--select", "ALL", "."),
    "mypy": ("mypy", "--strict", "--exclude", "^tests/", "."),
    "pytest": ("pytest", "--collect-only", "-q", "-p", "no:cacheprovider"),
    "manage.py": ("manage.py", "test"),
    "manage.py check": ("manage.py", "check", "--deploy"),
}


@pytest.fixture(scope="module", autouse=True)
def _mypys_notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep mypy's cache of Django outside the projects, which all share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPY_CACHE_DIR", str(tmp_path_factory.mktemp("mypy")))
        yield


def says(folder: Path, words: tuple[str, ...]) -> str:
    """What the tool says where nothing of ours can be imported, without numbers of files and seconds."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    program = [words[0]] if words[0] == "manage.py" else ["-m", words[0]]
    done = subprocess.run(
        [sys.executable, *program, *words[1:]],
        cwd=folder, env={**kept, "PYTHONDONTWRITEBYTECODE": "1"}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    text = f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return re.sub(r"[\d.]+(?= ?s\b| source files?| files?)", "N", text)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda top: start_project(top, _BASE), marks=pytest.mark.nightly),
        pytest.param(lambda top: start_project(top, _OWN), marks=pytest.mark.nightly),
        pytest.param(start_in_monorepo, marks=pytest.mark.nightly),
    ],
    ids=["startproject", "tasks, scripts and noxfile of theirs", "a folder of a repository"],
)
def test_the_owners_tools_say_what_they_said_before(tmp_path: Path, start: Callable[[Path], Path]) -> None:
    folder = start(tmp_path / "shop")
    before = {name: says(folder, words) for name, words in _TOOLS.items()}
    adopted(folder)
    after = {name: says(folder, words) for name, words in _TOOLS.items()}
    for name, text in before.items():
        # mypy tells what it kept and what is new in another order.
        assert sorted(after[name].splitlines()) == sorted(text.splitlines()), name


@pytest.mark.nightly
def test_the_tools_do_say_something(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop", _OWN)
    (folder / "mysite/more.py").write_text("def double(x):\n    return x\n\nimport os\n")
    assert "F401" in says(folder, _TOOLS["ruff"])
    assert "ANN001" in says(folder, _TOOLS["ruff with all rules"])
    assert "mysite/more.py:1: error" in says(folder, _TOOLS["mypy"])
    assert "test_backup" in says(folder, _TOOLS["pytest"])
    assert "Ran 1 test" in says(folder, _TOOLS["manage.py"])
