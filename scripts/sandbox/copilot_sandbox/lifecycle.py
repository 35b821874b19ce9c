"""Start, find, stop and wipe the server of a workspace: what others see of the sandbox."""

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

from copilot_sandbox import boot, child_variables, health, scratch
from copilot_sandbox.errors import Failed, WorkspaceError
from copilot_sandbox.images import build_variables
from copilot_sandbox.state import OWNER, Running, State
from copilot_sandbox.workspace import Workspace

HEAL_SECONDS = 15.0  # for the server to start again what has ended
STOP_SECONDS = 30.0
SILENCE_SECONDS = 30.0  # after which a person hears that it is still starting
START_SECONDS = 300.0  # the first start installs what the Dockerfile does; a later one takes a few seconds


# The variables of a child; one that is None is taken away from it.
Variables = Mapping[str, str | None]
# What says, for a start, what is to be there; it is entered while the sandbox starts.
Source = Callable[[], AbstractContextManager[Workspace]]
LIFELINE = "SANDBOX_LIFELINE"  # the variable that names the lock of the server: no child outlives its use


def enter(
    root: Path, say: Callable[[str], None], source: Source | None, *, filled: bool = False
) -> Variables | None:
    """Return the variables that point a child process at the sandbox, started from `source` if need be.

    Return None where it does not run and there is no `source`. Raises Failed where it cannot be started,
    WorkspaceError where something of the workspace is in the way, or where it runs without staging's data and
    is to be `filled`.
    """
    scratch.clear_temporaries()
    state = State(root)
    running, wrong = _as_it_is(state, say)
    if running and filled and not running.is_filled:
        raise WorkspaceError(
            "The sandbox was started by `copilot-sandbox`, so its staging database has no data: stop it with "
            "`copilot-sandbox stop`, or `invoke sandbox --stop`, then run the same again."
        )
    if wrong and source is None:
        raise Failed(
            f"The sandbox runs, but {wrong}, for {HEAL_SECONDS:.0f} s now: `invoke sandbox`, or "
            "`copilot-sandbox start`, starts it anew."
        )
    if running is None and source is not None:
        running = _start(state, source, say)
    elif running is None and state.left() and not state.alive():
        with state.starting(say, START_SECONDS):
            if not state.alive():
                _clean_up_after_death(state, say, "It is started again by the next deploy.")
    return _variables(state, running.variables) if running else None


def _as_it_is(state: State, say: Callable[[str], None]) -> tuple[Running | None, str]:
    """Return the server if it answers now, else what does not answer, where a server is there.

    What has ended is started again by the server itself, within a second or two: that is waited for.
    """
    end, announced = time.monotonic() + HEAL_SECONDS, False
    while state.alive():
        running = state.running()
        if running is None:
            return None, ""  # a start is under way
        wrong = health.find_problem(running)
        if not wrong:
            for line in state.notices():
                say(f"  sandbox: {line}")
            return running, ""
        if time.monotonic() >= end:
            return None, wrong
        if not announced:
            say(f"The sandbox is mending itself: {wrong}.")
            announced = True
        time.sleep(0.1)
    return None, ""


@contextmanager
def rendering(
    workspace: Workspace, environments: Sequence[str], domain: str, *, alone: bool
) -> Iterator[tuple[Variables, Mapping[str, str]]]:
    """Enter the running sandbox if its environments are as they are written, else an AWS for the moment.

    Yields the child's variables, and why an environment could not be made. Raises Failed.
    """
    state = State(workspace.root)
    running = state.running() if state.alive() else None
    if (
        running
        and not alone
        and running.environments == workspace.digest()
        and not health.find_problem(running)
    ):
        yield _variables(state, running.variables), {}
        return
    from copilot_sandbox.control_plane.server import ControlPlaneServer  # noqa: PLC0415 - moto takes a second
    from copilot_sandbox.seed import seed  # noqa: PLC0415 - botocore takes a tenth of one

    with scratch.temporary("rendering-") as folder:
        plane = ControlPlaneServer(0, folder, None, lambda _name: 1, accept_runtime=lambda _runtime: None)
        plane.start()
        try:
            variables = plane.environment()
            without_service = replace(workspace, service=None)
            child = {**variables, "PATH": child_variables.path(str(folder / "bin"))}
            failed = seed(without_service, child, environments, domain=domain, bare=True)
            yield _of_child(folder / "bin", variables), failed
        finally:
            plane.stop()


def runs(image: str) -> bool:
    """Return True for a public image that runs here."""
    from copilot_sandbox.agent.catalogue import KNOWN, short_name  # noqa: PLC0415 - it brings psycopg along

    return short_name(image) in KNOWN


def is_alive(root: Path) -> bool:
    """Return True if the sandbox of this workspace runs or is being started. Changes nothing."""
    return State(root).alive()


def start(root: Path, say: Callable[[str], None], source: Source) -> None:
    """Start the sandbox, or say that it runs. Raises as `enter`."""
    state = State(root)
    before = state.running() if state.alive() else None
    enter(root, say, source)
    say("The sandbox runs already." if before and before == state.running() else "The sandbox runs.")


def stop(root: Path, say: Callable[[str], None]) -> None:
    """Stop the sandbox; its databases are kept. Twice is fine."""
    say(_stop(State(root), say))


def reset(root: Path, say: Callable[[str], None]) -> None:
    """Stop the sandbox and delete all it keeps. Raises Failed where something cannot be deleted."""
    from copilot_sandbox import postgres  # noqa: PLC0415 - see _end_processes

    state = State(root)
    say(_stop(state, say).removesuffix("; its databases are kept.").rstrip(".") + ".")
    postgres.remove(state.folder)
    try:
        shutil.rmtree(state.folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Failed(f"{state.folder} could not be deleted whole: {error}.") from error
    say("Its databases, images and settings are deleted.")


def _variables(state: State, of_plane: Mapping[str, str]) -> Variables:
    """Return the variables of a child of the running sandbox, which is of no use once that has ended."""
    return {**_of_child(state.bin, of_plane), LIFELINE: str(state.lock)}


def _of_child(programs: Path, of_plane: Mapping[str, str]) -> Variables:
    """Return what changes in a child: the user's settings of AWS, of proxies and of Docker are taken away.

    pip's way to its index goes along, for Copilot starts the program that builds images.
    """
    taken = {
        name: None
        for name in os.environ
        if name.startswith(("AWS_", "COPILOT_")) or name.lower().endswith("_proxy")
    } | dict.fromkeys(child_variables.selected(os.environ, child_variables.DOCKER))
    return {
        **taken,
        **build_variables.handed_on(),
        **of_plane,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PATH": child_variables.path(str(programs)),
    }


def _start(state: State, source: Source, say: Callable[[str], None]) -> Running:
    with state.starting(say, START_SECONDS + HEAL_SECONDS):
        if state.alive():
            running = state.running()
            wrong = health.find_problem(running) if running else "its start is unfinished"
            if running and not wrong:
                return running  # another command has started it meanwhile
            say(f"The sandbox runs, but {wrong}; stopping it first.")
            _end_processes(state)
        with source() as workspace:
            _clean_up_after_death(state, say, "Starting it again.")
            return _run_server(state, workspace, say)


def _run_server(state: State, workspace: Workspace, say: Callable[[str], None]) -> Running:
    state.progress.write_text("")
    state.begin()
    workspace.write(state.workspace)
    with state.log.open("ab") as log:
        server = subprocess.Popen(
            # -P: nothing of the folder that it is started in is imported.
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
        server.terminate()  # it takes its half-built image away
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
            + (f"; {ended} processes that it left were ended" if ended else "")
            + f". What was deployed in it is gone, its databases are kept. {then}"
        )


def _end_processes(state: State) -> int:
    """End what a server left and remove its containers' files; return how many processes it were.

    None where it stopped in good order.
    """
    from copilot_sandbox import postgres  # noqa: PLC0415 - psycopg takes time that a deploy need not spend

    servers = state.end_server()  # first: it would start again what is ended
    database = postgres.PostgresServer(state.folder)
    postmaster = int(database.running())
    database.stop()  # its data is kept in order, and its children do not carry our mark
    ended = servers + postmaster + state.sweep()
    for folder in (*state.folder.glob("tasks/*"), *state.folder.glob("postgres/fill-*")):
        shutil.rmtree(folder, ignore_errors=True)  # of containers, and of a command of the project
    return ended


def _wait_until_ready(state: State, server: subprocess.Popen[bytes], say: Callable[[str], None]) -> Running:
    end = time.monotonic() + START_SECONDS
    shown = 0
    begun = told = time.monotonic()
    while time.monotonic() < end:
        lines = state.progress.read_text().splitlines()
        for line in lines[shown:]:
            say(f"  sandbox: {line}")
        shown = len(lines)
        if time.monotonic() - told >= SILENCE_SECONDS:
            told = time.monotonic()
            say(f"  still waiting: the sandbox starts ({told - begun:.0f} s)")
        running = state.running()
        if running:
            return running
        if server.poll() is not None:
            break
        time.sleep(0.05)
    last_lines = "".join(f"\n  {line}" for line in state.log.read_text(errors="replace").splitlines()[-12:])
    reason = f"The sandbox could not be started; its log is {state.log}, and ends:{last_lines}"
    if server.poll() == WorkspaceError.exit_code:
        raise WorkspaceError(reason)
    raise Failed(
        f"{reason}\n"
        "Run the same again; where it fails each time, `invoke sandbox --reset --yes` begins from nothing "
        "(`copilot-sandbox reset` where you have no tasks)."
    )


def _stop(state: State, say: Callable[[str], None]) -> str:
    with state.starting(say, START_SECONDS + HEAL_SECONDS):
        running = state.running()
        if not state.alive():
            left = _end_processes(state)
            state.stopped()
            state.why_ended()
            return f"The sandbox did not run{f'; {left} processes left by it were ended' if left else ''}."
        if running and state.owns(running.pid):
            os.kill(running.pid, signal.SIGTERM)
            end = time.monotonic() + STOP_SECONDS
            while state.alive() and time.monotonic() < end:
                time.sleep(0.05)
        _end_processes(state)
        state.stopped()
        state.why_ended()
    return "The sandbox is stopped; its databases are kept."
