"""The sandbox's folder `.sandbox/`: the paths of its parts' files, and whether the server runs.

The server holds a file lock for its whole life. The system frees the lock however the process ends, so no
outdated process id can mislead.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from copilot_sandbox.child_variables import OWNER
from copilot_sandbox.private import own_folder, write_private
from copilot_sandbox.scratch import lock_within, try_to_lock

_SERVER = "copilot_sandbox.server"


@dataclass(frozen=True)
class Running:
    """The record that the server writes once it is ready."""

    pid: int
    # These contain the secret key.
    variables: dict[str, str] = field(repr=False)  # they point Copilot or boto3 at the embedded AWS
    environments: str = ""  # the Workspace.digest() that the environments were created from
    postgres: str = ""  # the path of its socket
    is_filled: bool = True  # whether staging has data; without it, tasks that copy staging find nothing
    left_out: dict[str, str] = field(default_factory=dict)  # environments that cannot be made here, and why
    made: list[str] = field(default_factory=list)  # the environments that were made


class State:
    """The folder of one clone's sandbox."""

    def __init__(self, root: Path) -> None:
        self.folder = root.resolve() / ".sandbox"
        self.log = self.folder / "server.log"
        self.workspace = self.folder / "workspace.json"
        self.progress = self.folder / "progress"
        self.failure = self.folder / "failure"  # why the server ended, as a sentence for the user
        self.bin = self.folder / "bin"
        self.lock = self.folder / "server.lock"  # the server holds it for its whole life
        self._running = self.folder / "server.json"
        self._begun = self.folder / "begun"
        self._ended = self.folder / "ended"
        self._notices = self.folder / "notices"

    def create(self) -> None:
        """Create the folder, closed to other users. Raises Failed if it is a link or another user's."""
        own_folder(self.folder)
        (self.folder / ".gitignore").write_text("*\n")

    @contextmanager
    def starting(self, say: Callable[[str], None], seconds: float) -> Iterator[None]:
        """Let one command at a time start or stop the server. Others wait for at most `seconds`.

        Raises Failed after that time.
        """
        self.create()
        with (self.folder / "start.lock").open("w") as file:
            if not try_to_lock(file, fcntl.LOCK_EX):
                say("Another command is starting or stopping the sandbox: waiting until it is done.")
                lock_within(file, seconds, "the start of the sandbox", say)
            yield

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the server's lock. Yields False if another process holds it for longer than `alive` does."""
        self.create()
        with self.lock.open("w") as file:
            end = time.monotonic() + 1
            while not try_to_lock(file, fcntl.LOCK_EX):
                if time.monotonic() > end:
                    yield False
                    return
                time.sleep(0.02)
            yield True

    def alive(self) -> bool:
        """Return True while a server runs or starts. Concurrent calls do not affect each other."""
        try:
            file = self.lock.open()
        except OSError:
            return False
        with file:
            return not try_to_lock(file, fcntl.LOCK_SH)

    def owns(self, pid: int) -> bool:
        """Return True for a process of this sandbox."""
        try:
            return psutil.Process(pid).environ().get(OWNER) == str(self.folder)
        except (psutil.Error, OSError):
            return False

    def running(self) -> Running | None:
        """Return the record of a ready server. Only an orderly stop deletes it."""
        try:
            return Running(**json.loads(self._running.read_text()))
        except FileNotFoundError:
            return None

    def ready(self, running: Running) -> None:
        write_private(self._running, json.dumps(asdict(running)))

    def begin(self) -> None:
        """Record that a server starts. A command that finds the record without a server cleans up."""
        self._begun.touch()
        self._notices.unlink(missing_ok=True)

    def left(self) -> bool:
        """Return True if a server was started, and neither stopped nor cleaned up since."""
        return any(file.exists() for file in (self._begun, self._running, self._ended))

    def stopped(self) -> None:
        for file in (self._running, self._begun):
            file.unlink(missing_ok=True)

    def ended(self, reason: str) -> None:
        """Record why the server ends: one of its parts ended and cannot be restarted."""
        self._ended.write_text(reason)

    def why_ended(self) -> str:
        """Return that reason and delete it; an empty text if there is none."""
        return _read_once(self._ended)

    def notice(self, line: str) -> None:
        """Record a line that the next command shows to the user."""
        with self._notices.open("a") as file:
            file.write(f"{line}\n")

    def notices(self) -> list[str]:
        """Return the recorded lines and delete them."""
        return _read_once(self._notices).splitlines()

    def end_server(self) -> int:
        """Kill the server's process, starting or ready. Return the number of processes: 1 or 0."""
        processes = [process for process in self._own_processes() if _SERVER in _words(process)]
        _end(processes)
        return len(processes)

    def sweep(self) -> int:
        """Kill every process with this folder's mark, and all below them. Return the number of the marked.

        A step of an engine's build has the image's variables alone, but its parent has the mark.
        """
        marked = list(self._own_processes())
        below: set[psutil.Process] = set()
        for process in marked:
            with suppress(psutil.Error):
                below.update(process.children(recursive=True))
        _end([*marked, *below.difference(marked)])
        return len(marked)

    def _own_processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(OWNER) == str(self.folder):
                    yield process
            except (psutil.Error, OSError):  # it has ended meanwhile, or belongs to another user
                continue


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()
    end = time.monotonic() + 10
    while any(_is_running(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.02)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.Error, OSError):
        return []


def _read_once(file: Path) -> str:
    """Read and remove a file, so that only one of several processes reads it."""
    own_copy = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.replace(own_copy)
        text = own_copy.read_text()
    except FileNotFoundError:
        return ""
    own_copy.unlink(missing_ok=True)
    return text.strip()


def _is_running(process: psutil.Process) -> bool:
    """Return True while the process runs. A zombie does not; many containers never reap them."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
