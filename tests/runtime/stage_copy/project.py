"""The demo project as its image has it: only what the Dockerfile copies, run with the tests' Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .servers import BIN

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Project:
    """A copy of the project in `home`; `variables` is all of its environment that is about it."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, **variables: str) -> dict[str, str]:
        path = f"{BIN}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **self.variables, **variables}

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.home,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=self.home,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def project(home: Path, **variables: str) -> Project:
    """Copy the project into `home`, as the Dockerfile does."""
    ignored = shutil.ignore_patterns("__pycache__")
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "manage.py", home)
    shutil.copytree(CHECKOUT / "scripts/runtime/django_testenv", home / "django_testenv", ignore=ignored)
    shutil.copytree(CHECKOUT / "demo", home / "demo", ignore=ignored)
    return Project(home, {"SECRET_KEY": "not secret: a test's", **variables})
