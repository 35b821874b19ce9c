"""Start, find, stop and delete the sandbox server of a workspace: the interface for other modules."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from copilot_sandbox import boot, child_variables, health, imported_certificates, scratch
from copilot_sandbox.errors import Failed, WorkspaceError
from copilot_sandbox.images import build_variables
from copilot_sandbox.state import OWNER, Running, State
from copilot_sandbox.workspace import Workspace

HEAL_SECONDS = 15.0  # for the server to restart a part that has ended
STOP_SECONDS = 30.0
SILENCE_SECONDS = 30.0  # without output, before a line says that the sandbox is still starting
_KEPT = ": its deployed services are gone, its databases are kept."
START_SECONDS = 900.0  # the first start builds an image; a later one takes a few seconds


# The variables of a child; a variable that is None is removed from its environment.
Variables = Mapping[str, str | None]
# Returns the workspace to start with. The context is entered while the sandbox starts.
Source = Callable[[], AbstractContextManager[Workspace]]
LIFELINE = "SANDBOX_LIFELINE"  # names the server's lock file: a child ends when the server has ended


def enter(
    root: Path, say: Callable[[str], None], source: Source | None, *, filled: bool = False
) -> Variables | None:
    """Return the variables that point a child process at the sandbox, started from `source` if needed.

    Return None if it does not run and there is no `source`. Raises Failed if it cannot start, WorkspaceError
    if the workspace has an error, or if the sandbox runs without staging's data but has to be `filled`.
    """
    scratch.clear_temporaries()
    state = State(root)
    running, problem = _find_answering(state, say)
    if running and filled and not running.is_filled:
        raise WorkspaceError(
            "The sandbox has no staging data, because `copilot-sandbox` started it: stop it with "
            "`copilot-sandbox stop`, or `invoke sandbox --stop`, then run the same command again."
        )
    if problem and source is None:
        raise Failed(
            f"The sandbox runs, but {problem}, for {HEAL_SECONDS:.0f} s now: start it again with "
            "`invoke sandbox`, or `copilot-sandbox start`."
        )
    if running is None and source is not None:
        running = _start(state, source, say)
    elif running is None and state.left() and not state.alive():
        with state.starting(say, START_SECONDS):
            if not state.alive():
                _clean_up_after_death(state, say, "The next deployment starts it again.")
    return _variables(state, running.variables) if running else None


def _find_answering(state: State, say: Callable[[str], None]) -> tuple[Running | None, str]:
    """Return the server if it answers; else None and, if a server runs, the part that does not answer.

    The server restarts a part that has ended within a second or two, so this waits for it.
    """
    end, announced = time.monotonic() + HEAL_SECONDS, False
    while state.alive():
        running = state.running()
        if running is None:
            return None, ""  # a start is under way
        problem = health.find_problem(running)
        if not problem:
            for line in state.notices():
                say(f"  sandbox: {line}")
            return running, ""
        if time.monotonic() >= end:
            return None, problem
        if not announced:
            say(f"The sandbox is repairing itself: {problem}.")
            announced = True
        time.sleep(0.1)
    return None, ""


@contextmanager
def rendering(
    workspace: Workspace, environments: Sequence[str], domain: str, *, alone: bool
) -> Iterator[tuple[Variables, Mapping[str, str]]]:
    """Enter the running sandbox if it has these environments as the files say now, else a temporary AWS.

    Yields the child's variables, and why an environment could not be created. Raises Failed.
    """
    state = State(workspace.root)
    running = state.running() if state.alive() else None
    if (
        running
        and not alone
        and running.environments == workspace.digest()
        and {*running.made, *running.left_out}.issuperset(environments)
        and not health.find_problem(running)
    ):
        yield _variables(state, running.variables), running.left_out
        return
    from copilot_sandbox.control_plane.server import ControlPlaneServer  # noqa: PLC0415 - moto takes a second
    from copilot_sandbox.seed import seed  # noqa: PLC0415 - botocore takes a tenth of one

    with scratch.temporary("rendering-") as folder:
        plane = ControlPlaneServer(0, folder, None, lambda _name: 1, accept_runtime=lambda _runtime: None)
        plane.start()
        try:
            # The domain's wildcard is for the host names of branches, which no manifest has.
            below = [f"*.{domain}"] if domain else []
            named = imported_certificates.of_workspace(workspace.root)
            plane.import_certificates({arn: [*names, *below] for arn, names in named.items()})
            variables = plane.environment()
            without_service = replace(workspace, service=None)
            child = {**variables, "PATH": child_variables.path(str(folder / "bin"))}
            failed = seed(without_service, child, environments, domain=domain, bare=True)
            yield _child_variables(folder / "bin", variables), failed
        finally:
            plane.stop()


@contextmanager
def stand_in() -> Iterator[Callable[..., Variables]]:
    """Start an AWS that only answers what Copilot asks while it packages (see `copilot_sandbox.stand_in`).

    Yields a function that takes the fields of a `stand_in.Deployment` and returns a child's variables.
    """
    from copilot_sandbox.stand_in import Deployment, StandIn  # noqa: PLC0415 - cryptography takes a moment

    with scratch.temporary("stand-in-") as folder:
        server = StandIn(folder)
        server.start()
        child = _child_variables(folder / "bin", {})
        try:
            yield lambda **found: {**child, **server.variables(Deployment(**found))}
        finally:
            server.stop()


def runs(image: str) -> bool:
    """Return True if this public image can run here."""
    from copilot_sandbox.agent.catalogue import KNOWN, short_name  # noqa: PLC0415 - it also imports psycopg

    return short_name(image) in KNOWN


def is_alive(root: Path) -> bool:
    """Return True if the sandbox of this workspace runs or is starting. Changes nothing."""
    return State(root).alive()


def start(root: Path, say: Callable[[str], None], source: Source) -> None:
    """Start the sandbox, or report that it runs. Raises the errors of `enter`."""
    state = State(root)
    before = state.running() if state.alive() else None
    enter(root, say, source)
    say("The sandbox already runs." if before and before == state.running() else "The sandbox runs.")


def stop(root: Path, say: Callable[[str], None]) -> None:
    """Stop the sandbox and keep its databases. It need not run."""
    say(_stop(State(root), say))


def reset(root: Path, say: Callable[[str], None]) -> None:
    """Stop the sandbox and delete all its data. Raises Failed if something cannot be deleted."""
    from copilot_sandbox import postgres  # noqa: PLC0415 - see _end_processes
    from copilot_sandbox.agent import engine  # noqa: PLC0415 - see _end_processes

    state = State(root)
    say(_stop(state, say).removesuffix(_KEPT).rstrip(".") + ".")
    postgres.remove(state.folder)
    engine.clean(state.folder, with_images=True)
    try:
        shutil.rmtree(state.folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Failed(f"{state.folder} could not be deleted completely: {error}.") from error
    say("Its databases, images and settings are deleted.")


def _variables(state: State, plane_variables: Mapping[str, str]) -> Variables:
    """Return the variables of a child of the running sandbox. The child ends when the sandbox has ended."""
    return {**_child_variables(state.bin, plane_variables), LIFELINE: str(state.lock)}


def _child_variables(programs: Path, plane_variables: Mapping[str, str]) -> Variables:
    """Return a child's changed variables. The user's settings of AWS, proxies and Docker are removed.

    pip's settings of the index are passed on, because Copilot starts the program that builds images.
    """
    removed = {
        name: None
        for name in os.environ
        if name.startswith(("AWS_", "COPILOT_")) or name.lower().endswith("_proxy")
    } | dict.fromkeys(child_variables.selected(os.environ, child_variables.DOCKER))
    return {
        **removed,
        **build_variables.forwarded(),
        **plane_variables,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PATH": child_variables.path(str(programs)),
    }


def _start(state: State, source: Source, say: Callable[[str], None]) -> Running:
    with state.starting(say, START_SECONDS + HEAL_SECONDS):
        if state.alive():
            running = state.running()
            problem = health.find_problem(running) if running else "its start is unfinished"
            if running and not problem:
                return running  # another command has started it meanwhile
            say(f"The sandbox runs, but {problem}; stopping it first.")
            _end_processes(state)
        with source() as workspace:
            _clean_up_after_death(state, say, "Starting it again.")
            return _run_server(state, workspace, say)


def _run_server(state: State, workspace: Workspace, say: Callable[[str], None]) -> Running:
    state.progress.write_text("")
    state.failure.unlink(missing_ok=True)
    state.begin()
    workspace.write(state.workspace)
    with state.log.open("ab") as log:
        server = subprocess.Popen(
            # -P: the server imports nothing from its working folder.
            [sys.executable, "-P", "-m", "copilot_sandbox.server", str(state.workspace)],
            cwd=state.folder,
            env={
                **child_variables.inherited(*child_variables.SERVER, *workspace.variables),
                "PYTHONPATH": boot.SOURCES,
                OWNER: str(state.folder),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        return _wait_until_ready(state, server, say)
    except BaseException:
        server.terminate()  # it removes its half-built image
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        server.kill()
        server.wait(timeout=5)
        _end_processes(state)
        state.stopped()
        raise


def _clean_up_after_death(state: State, say: Callable[[str], None], then: str) -> None:
    left, reason = state.left(), state.why_ended()
    ended = _end_processes(state)
    state.stopped()
    if left:
        say(
            (f"The sandbox had ended: {reason}" if reason else "The sandbox had ended without being stopped")
            + (f"; {ended} remaining processes were ended" if ended else "")
            + f". Its deployed services are gone; its databases are kept. {then}"
        )


def _end_processes(state: State) -> int:
    """End the processes that a server left, and remove its containers' files. Return the number of processes.

    The number is 0 after an orderly stop.
    """
    from copilot_sandbox import postgres  # noqa: PLC0415 - psycopg takes time to import, which a deploy need not
    from copilot_sandbox.agent import engine  # noqa: PLC0415 - it imports an HTTP client

    servers = state.end_server()  # first, because it would restart the other processes
    database = postgres.PostgresServer(state.folder)
    postmaster = int(database.running())
    database.stop()  # an orderly stop keeps the data intact; Postgres's children have no mark to find them by
    engine.clean(state.folder, with_images=False)  # before its service is ended
    ended = servers + postmaster + state.sweep()
    for folder in (*state.folder.glob("tasks/*"), *state.folder.glob("postgres/fill-*")):
        shutil.rmtree(folder, ignore_errors=True)  # files of containers, and of a command of the project
    return ended


def _wait_until_ready(state: State, server: subprocess.Popen[bytes], say: Callable[[str], None]) -> Running:
    end = time.monotonic() + START_SECONDS
    shown = 0
    begun = last_message = time.monotonic()
    while time.monotonic() < end:
        lines = state.progress.read_text().splitlines()
        for line in lines[shown:]:
            say(f"  sandbox: {line}")
        shown = len(lines)
        if time.monotonic() - last_message >= SILENCE_SECONDS:
            last_message = time.monotonic()
            say(f"  still waiting: the sandbox starts ({last_message - begun:.0f} s)")
        running = state.running()
        if running:
            return running
        if server.poll() is not None:
            break
        time.sleep(0.05)
    code = server.poll()
    if code is not None and state.failure.is_file():
        kind = WorkspaceError if code == WorkspaceError.exit_code else Failed
        raise kind(f"The sandbox could not be started: {state.failure.read_text()}\n{state.log} has more.")
    last_lines = "".join(f"\n  {line}" for line in state.log.read_text(errors="replace").splitlines()[-12:])
    reason = f"The sandbox could not be started. Its log {state.log} ends with:{last_lines}"
    if code == WorkspaceError.exit_code:
        raise WorkspaceError(reason)
    raise Failed(
        f"{reason}\n"
        "Run the same command again. If it fails each time, delete the sandbox's data with "
        "`invoke sandbox --reset --yes` (`copilot-sandbox reset` if you have no tasks)."
    )


def _stop(state: State, say: Callable[[str], None]) -> str:
    with state.starting(say, START_SECONDS + HEAL_SECONDS):
        running = state.running()
        if not state.alive():
            left = _end_processes(state)
            state.stopped()
            state.why_ended()
            return f"The sandbox did not run{f'; {left} remaining processes were ended' if left else ''}."
        if running and state.owns(running.pid):
            os.kill(running.pid, signal.SIGTERM)
            end = time.monotonic() + STOP_SECONDS
            while state.alive() and time.monotonic() < end:
                time.sleep(0.05)
        _end_processes(state)
        state.stopped()
        state.why_ended()
    return f"The sandbox is stopped{_KEPT}"
