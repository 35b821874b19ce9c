"""Chooses what runs the containers of a sandbox: a container engine, or processes of this machine."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox.agent import engine
from copilot_sandbox.errors import Failed, SandboxError
from copilot_sandbox.images import engine_build
from copilot_sandbox.images.docker import ENGINE
from copilot_sandbox.state import OWNER, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot_sandbox.postgres import PostgresServer
    from copilot_sandbox.workspace import Stage, Workspace


class Chosen(NamedTuple):
    """The engine with its service, or in one clause why there is none."""

    engine: engine.Engine | None
    service: subprocess.Popen[bytes] | None
    reason: str
    digest: str = ""  # of the image that fills staging, if it was built to see whether the engine can

    def stop(self) -> None:
        if self.service is not None:
            self.service.terminate()
            self.service.wait()


def choose_while_starting(
    postgres: PostgresServer,
    workspace: Workspace,
    state: State,
    *,
    has_namespace: bool,
    say: Callable[[str], None],
) -> Chosen:
    """Start Postgres, whose first start takes as long as a small build, and meanwhile `choose`.

    Raises Failed for either, and leaves neither running then.
    """
    chosen = None
    try:
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(postgres.start)
            chosen = choose(workspace, state, has_namespace=has_namespace, say=say)
            starting.result()
    except BaseException:
        postgres.stop()
        if chosen is not None:
            chosen.stop()
        raise
    return chosen


def choose(workspace: Workspace, state: State, *, has_namespace: bool, say: Callable[[str], None]) -> Chosen:
    """Return the engine if one can be used and builds the project's image. Its service runs.

    `has_namespace`: a task has a network namespace of its own. Raises Failed if the workspace wants an engine
    and there is none.
    """
    if workspace.containers == "auto" and workspace.stage is None:
        return Chosen(
            None, None, "no image of the project shows whether one can build (SANDBOX_CONTAINERS=engine)"
        )
    found, reason = engine.find(workspace.containers, state.folder, has_namespace=has_namespace)
    if found is not None:
        chosen = _started(found, workspace.stage, state, say)
        if chosen.engine is not None:
            return chosen
        reason = chosen.reason
    if workspace.containers == "engine":
        raise Failed(
            f"No container engine can be used: {reason}. Without one, containers run as processes: set "
            "SANDBOX_CONTAINERS=processes."
        )
    return Chosen(None, None, reason)


def _started(found: engine.Engine, stage: Stage | None, state: State, say: Callable[[str], None]) -> Chosen:
    service, digest = None, ""
    try:
        service = found.serve({OWNER: str(state.folder)})
        if stage is not None and Path(stage.dockerfile).is_file():
            engine_build.pull_bases(found, Path(stage.dockerfile), say)
            if not _has_built(state.folder):
                say(f"{found.name} builds the project's image, to see whether it can")
                digest = build_for_staging(found, stage, state.folder)
    except (engine.EngineError, SandboxError) as error:
        Chosen(found, service, "").stop()
        first, *others = str(error).splitlines()
        return Chosen(None, None, " ".join([first, *others[-1:]]).replace("  ", " "))
    return Chosen(found, service, "", digest)


def build_for_staging(found: engine.Engine, stage: Stage, folder: Path) -> str:
    """Build the image that fills staging. Return its digest. Raises SandboxError."""
    flags = [("--build-arg", f"{name}={value}") for name, value in stage.arguments.items()]
    flags += [("--target", stage.target)] if stage.target else []
    return engine_build.build(
        found, Path(stage.context), Path(stage.dockerfile), folder, flags=flags, is_shown=True
    )


def _has_built(folder: Path) -> bool:
    """Return True if the engine has built for this sandbox before: a broken branch then changes nothing."""
    file = folder / ENGINE
    return file.exists() and json.loads(file.read_text()) is not None
