"""Starts, finds, stops and wipes the sandbox's server: what the tasks see of the sandbox."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import branch_files, child_variables, copilot, scratch
from scripts.command import LIFELINE, Shell, Variables
from scripts.errors import Failed, SettingsError, UsageError
from scripts.report import Patience, confirm
from scripts.sandbox import health
from scripts.sandbox.images import build_variables
from scripts.sandbox.state import OWNER, Running, State

if TYPE_CHECKING:
    from scripts.environment import Bench
    from scripts.settings import Settings

HEAL_SECONDS = 15.0  # for the server to start again what has ended
STOP_SECONDS = 30.0
START_SECONDS = 300.0  # the first start installs what the Dockerfile does; a later one takes a few seconds


def enter(settings: Settings, say: Callable[[str], None], *, start: bool) -> Variables | None:
    """The variables that point a child process at the sandbox, started when it does not run.

    None where it does not run and `start` is off. Raises Failed where it cannot be started.
    """
    state = State(settings.root)
    running, wrong = _as_it_is(state, say)
    if wrong and not start:
        raise Failed(
            f"The sandbox runs, but {wrong}, for {HEAL_SECONDS:.0f} s now: `invoke sandbox` starts it anew."
        )
    if running is None and start:
        running = _start(settings, state, say)
    elif running is None and state.left() and not state.alive():
        with state.starting(say, START_SECONDS):
            if not state.alive():
                _clean_up_after_death(state, say, "It is started again by the next deploy.")
    return _variables(state, running.variables) if running else None


def _as_it_is(state: State, say: Callable[[str], None]) -> tuple[Running | None, str]:
    """The server, if it answers now, and else what does not, where one is there.

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
    settings: Settings, shell: Shell, environments: Sequence[str], domain: str, *, alone: bool
) -> Iterator[tuple[Variables, Mapping[str, str]]]:
    """The running sandbox if its environments are as they are written, else an embedded AWS for the moment.

    Yields the child's variables, and why an environment could not be made. Raises Failed.
    """
    # Copilot makes environments out of this workspace, whose addons and overrides `bare` ones do without.
    branch_files.require(settings.root, settings, os.environ, branch_files.Scope((), paths=False))
    state = State(settings.root)
    running = state.running() if state.alive() else None
    if (
        running
        and not alone
        and running.environments == written(settings)
        and not health.find_problem(running)
    ):
        yield _variables(state, running.variables), {}
        return
    from scripts.sandbox.control_plane.server import ControlPlaneServer  # noqa: PLC0415 - moto takes a second
    from scripts.sandbox.seed import seed  # noqa: PLC0415 - boto3 takes a tenth of one

    with scratch.temporary("rendering-aws-") as folder:
        plane = ControlPlaneServer(0, folder, None, lambda _name: 1, any_runtime=True)
        plane.start()
        try:
            variables = _of_child(folder / "bin", plane.environment())
            failed = seed(
                shell,
                copilot.program(),
                settings.root,
                variables,
                application=settings.app,
                service=None,
                environments=environments,
                secrets={},
                domain=domain,
                bare=True,
                variables=settings.manifest_variables,
            )
            yield variables, failed
        finally:
            plane.stop()


def runs(image: str) -> bool:
    """Return True for a public image that runs here."""
    from scripts.sandbox.agent.catalogue import KNOWN, short_name  # noqa: PLC0415 - it brings psycopg along

    return short_name(image) in KNOWN


def written(settings: Settings) -> str:
    """A digest of the application's name and of what says how its environments are made."""
    digest = hashlib.sha256(settings.app.encode())
    folder = settings.root / "copilot/environments"
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def command(bench: Bench, *, stop: bool, reset: bool, yes: bool) -> None:
    """`invoke sandbox`: start it or say that it runs, stop it, wipe it."""
    if stop and reset:
        raise UsageError("Say --stop or --reset: a reset stops it too.")
    settings, say = bench.settings, bench.report.say
    state = State(settings.root)
    if reset:
        confirm(bench.report, f"Stop the sandbox and delete all it keeps in {state.folder}?", yes=yes)
    if stop or reset:
        stopped = _stop(state, say)
        say(stopped if stop else stopped.removesuffix("; its databases are kept.").rstrip(".") + ".")
        if reset:
            from scripts.sandbox import postgres  # noqa: PLC0415 - see _end_processes

            postgres.remove(state.folder)
            try:
                shutil.rmtree(state.folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise Failed(f"{state.folder} could not be deleted whole: {error}.") from error
            say("Its databases, images and settings are deleted.")
        return
    before = state.running() if state.alive() else None
    enter(settings, say, start=True)
    say("The sandbox runs already." if before and before == state.running() else "The sandbox runs.")


def _variables(state: State, of_plane: Mapping[str, str]) -> Variables:
    """The variables of a child of the running sandbox, which is of no use once that has ended."""
    return {**_of_child(state.bin, of_plane), LIFELINE: str(state.lock)}


def _of_child(programs: Path, of_plane: Mapping[str, str]) -> Variables:
    """Only these reach a child: what of AWS, of proxies and of Docker the user has set is taken away.

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


def _start(settings: Settings, state: State, say: Callable[[str], None]) -> Running:
    with state.starting(say, START_SECONDS + HEAL_SECONDS):
        if state.alive():
            running = state.running()
            wrong = health.find_problem(running) if running else "its start is unfinished"
            if running and not wrong:
                return running  # another command has started it meanwhile
            say(f"The sandbox runs, but {wrong}; stopping it first.")
            _end_processes(state)
        branch_files.require(settings.root, settings, os.environ, branch_files.Scope((), paths=False))
        _clean_up_after_death(state, say, "Starting it again.")
        state.progress.write_text("")
        state.begin()
        with state.log.open("ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "scripts.sandbox.server", str(settings.root)],
                cwd=settings.root,
                env={
                    **child_variables.inherited(*child_variables.SANDBOX, *settings.manifest_variables),
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
            server.terminate()  # it takes its worktree and its half-built image away
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
    from scripts.sandbox import postgres  # noqa: PLC0415 - psycopg takes time that a deploy need not spend

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
    patience = Patience(say, "the sandbox starts")
    while time.monotonic() < end:
        lines = state.progress.read_text().splitlines()
        for line in lines[shown:]:
            say(f"  sandbox: {line}")
        shown = len(lines)
        patience.tell()
        running = state.running()
        if running:
            return running
        if server.poll() is not None:
            break
        time.sleep(0.05)
    last_lines = "".join(f"\n  {line}" for line in state.log.read_text(errors="replace").splitlines()[-12:])
    reason = f"The sandbox could not be started; its log is {state.log}, and ends:{last_lines}"
    if server.poll() == SettingsError.exit_code:
        raise SettingsError(reason)
    raise Failed(
        f"{reason}\n"
        "Run the same again; where it fails each time, `invoke sandbox --reset --yes` begins from nothing."
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
