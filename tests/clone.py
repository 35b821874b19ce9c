"""A scratch clone of this repository as it stands, for what must be seen in a clone of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from copilot_sandbox import lifecycle
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.deploys import status
from copilot_testenv.session import Session
from tests import light
from tests.fakes import FakeReport
from tests.sources import sources

ROOT = Path(__file__).parent.parent
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org",
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    seconds: float


class Clone:
    """A repository whose branch `main` holds this one's files, committed or not, without tests and documents.

    `is_light`: with a project in place of the demo that starts in a moment; see tests/light.py.
    """

    containers = "processes"  # what runs the sandbox's containers
    environments = "all"  # that the sandbox makes, for tests which look at test's neighbours
    deploy_with = "copilot"
    python = sys.executable  # of the tasks

    def __init__(self, folder: Path, *, is_light: bool = False) -> None:
        self.folder = folder
        self.stage_megabytes: int | None = None  # of its sandbox's staging; None: as a person gets it
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            source = ROOT / name
            if source.is_file() and not name.startswith(("tests/", "docs/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / name)
                _copy_compiled(source, folder / name)
        for name, text in light.FILES.items() if is_light else ():
            (folder / name).write_text(text)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.email", "ada@example.org")
        self.commit("The project as it stands")

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words],
            check=True, capture_output=True, text=True, env={**os.environ, **IDENTITY},
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commit everything and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str, files: dict[str, str], start: str = "main") -> str:
        """A branch from `start` with these files written or replaced; the checkout goes back to main."""
        self.git("checkout", "--quiet", "-B", name, start)
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        if self.python != sys.executable and any(path.startswith("copilot/") for path in files):
            self.package()
        commit = self.commit(f"Work on {name}")
        self.git("checkout", "--quiet", "main")
        return commit

    def environ(self, **more: str) -> dict[str, str]:
        """What a person's shell has: no AWS variable, no CI."""
        path = os.environ["PATH"].split(os.pathsep)
        if self.python != sys.executable:
            path = [each for each in path if not (Path(each) / "copilot").exists()]
        kept = {
            name: value
            for name, value in {**os.environ, "PATH": os.pathsep.join(path)}.items()
            if not name.startswith(("AWS_", "COPILOT_", "SANDBOX_"))
            and name not in {"CI", "PYTHONPATH", "TEST_ENV"}
        }
        stage = {"SANDBOX_STAGE_MB": str(self.stage_megabytes)} if self.stage_megabytes else {}
        tests = {
            "DEPLOY_TARGET": "sandbox",
            "PYTHONWARNINGS": "default",
            "SANDBOX_CONTAINERS": self.containers,
            "SANDBOX_ENVIRONMENTS": self.environments,
            "DEPLOY_WITH": self.deploy_with,
        }
        return {**kept, **tests, **stage, **more}

    def importing(self, **more: str) -> dict[str, str]:
        """The same for a process that imports the clone's packages, which nothing has installed."""
        return self.environ(PYTHONPATH=sources(self.folder), **more)

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, "-m", "invoke", *words],
            cwd=self.folder, env=self.environ(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def invoke(self, *words: str, **more: str) -> Ran:
        """Run a task to its end; its variables on top of a plain shell's."""
        started = time.monotonic()
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=280)
        return Ran(process.returncode, out, err, time.monotonic() - started)

    def do(self, *words: str, **more: str) -> Ran:
        """Run a task that has to succeed; a failure shows all of what it said."""
        ran = self.invoke(*words, **more)
        if ran.code:
            raise AssertionError(f"invoke {' '.join(words)} ended with {ran.code}:\n{ran.out}{ran.err}")
        return ran

    def leave_copilot(self, folder: Path) -> None:
        """Write and commit the packaged templates; from now on the tasks find no Copilot and do without.

        The sandbox has made its environments before. `folder` is for a Python without Copilot beside it.
        """
        self.do("sandbox")
        self.package()
        self.commit("Package the test environment")
        self.deploy_with = "cloudformation"
        venv.create(folder, with_pip=False, symlinks=True)
        packages = sysconfig.get_path("purelib")
        own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        (Path(own) / "packages.pth").write_text(packages + "\n")
        self.python = str(folder / "bin/python")

    def package(self) -> None:
        """Run `package` for what is checked out."""
        self.with_copilot("package", "--env", "test", "--yes")

    def with_copilot(self, *words: str) -> None:
        """Run a task where Copilot is installed, also where the others do without it."""
        python, self.python = self.python, sys.executable
        self.do(*words)
        self.python = python

    def status(self) -> list[dict[str, Any]]:
        """What `invoke status --json` shows, without a process of its own."""
        shown = FakeReport()
        settings = load(self.folder, self.environ())
        status.status(Session(settings, RealShell(), shown, self.environ()), html="", json=True)
        found: list[dict[str, Any]] = json.loads(shown.printed[-1])
        return found

    def variables(self) -> dict[str, str]:
        """The environment of a child of the sandbox, as the tasks make it, for commands of a test's own."""
        found = lifecycle.enter(self.folder, print, None)
        if found is None:
            self.do("sandbox")
            found = lifecycle.enter(self.folder, print, None)
        variables = {**self.importing(), **(found or {})}
        return {name: value for name, value in variables.items() if value is not None}

    def copilot(self, *words: str, folder: Path | None = None) -> Ran:
        """The bare Copilot, as a person would run it in this place."""
        started = time.monotonic()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("copilot")), *words],
            cwd=folder or self.folder, env=self.variables(), stdin=subprocess.DEVNULL,
            check=False, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    def stop(self) -> None:
        self.invoke("sandbox", "--reset", "--yes")


def _copy_compiled(source: Path, target: Path) -> None:
    """Copy what Python made of a source, which is as good for a copy with the same time."""
    for compiled in source.parent.glob(f"__pycache__/{source.stem}.{sys.implementation.cache_tag}*.pyc"):
        if source.suffix == ".py":
            (target.parent / "__pycache__").mkdir(exist_ok=True)
            shutil.copy2(compiled, target.parent / "__pycache__")


def get(url: str) -> tuple[int, str]:
    """The status and the text at an address; 0 where nobody answers."""
    parts = urlsplit(url)
    here = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()  # names below localhost may mean nothing
    request = urllib.request.Request(here, headers={"Host": parts.netloc})  # noqa: S310 - on loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - on loopback
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def get_json(url: str) -> Any:
    status, text = get(url)
    assert status == 200, (status, text)
    return json.loads(text)


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
