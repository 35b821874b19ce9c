"""The demo project as its image has it: only what the Dockerfile copies, run with the tests' Python."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .servers import BIN

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKOUT = Path(__file__).resolve().parents[3]
UNREACHABLE = "postgres://shop:pw-of-nobody@127.0.0.1:1/shop"


@dataclass(frozen=True)
class Project:
    """A copy of the project in `home`; `variables` is all of its environment that is about it."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, **variables: str) -> dict[str, str]:
        path = f"{BIN}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, **self.variables, **variables}

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run manage.py in a process of its own, which is forked of one that has imported Django."""
        with tempfile.TemporaryDirectory(prefix="manage-") as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            job = {"words": arguments, "folder": str(self.home), "env": self.environment(**variables)}
            code = _forking()(json.dumps({**job, "out": str(out), "err": str(err)}))
            return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=self.home,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@cache
def _forking() -> Callable[[str], int]:
    """Start the process that `manage` forks of, and return what hands it a job."""
    words = [sys.executable, "-I", str(Path(__file__).with_name("forks.py"))]
    forking = subprocess.Popen(words, env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    given, answers = forking.stdin, forking.stdout
    assert given
    assert answers

    def run(job: str) -> int:
        given.write(f"{job}\n")
        given.flush()
        return int(answers.readline())

    atexit.register(forking.communicate)
    return run


def project(home: Path, **variables: str) -> Project:
    """Copy the project into `home`, as the Dockerfile does."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "manage.py", home)
    shutil.copytree(CHECKOUT / "scripts/runtime/django_testenv", home / "django_testenv")
    shutil.copytree(CHECKOUT / "demo", home / "demo")
    return Project(home, {"SECRET_KEY": "not secret: a test's", **variables})
