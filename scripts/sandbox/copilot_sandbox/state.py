"""The sandbox's folder `.sandbox/`: where its parts keep things, and whether it runs.

Whether the server runs is told by a file lock that it holds for its life: the system frees it however the
process ends, so no stale process number can mislead.
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

from copilot_sandbox.private import own_folder, write_private
from copilot_sandbox.scratch import lock_within, try_to_lock

_SERVER = "copilot_sandbox.server"
OWNER = "SANDBOX_OWNER"  # every process of the sandbox carries its folder in this variable


@dataclass(frozen=True)
class Running:
    """What the server tells of itself once it is ready."""

    pid: int
    # Secret: the key is among them.
    variables: dict[str, str] = field(repr=False)  # what points Copilot or boto3 at the embedded AWS
    environments: str = ""  # Workspace.digest(), as they were made from
    postgres: str = ""  # the path of its socket
    is_filled: bool = True  # staging was to be filled; where it was not, tasks that copy it find nothing


class State:
    """The folder of one clone's sandbox."""

    def __init__(self, root: Path) -> None:
        self.folder = root.resolve() / ".sandbox"
        self.log = self.folder / "server.log"
        self.workspace = self.folder / "workspace.json"
        self.progress = self.folder / "progress"
        self.bin = self.folder / "bin"
        self.lock = self.folder / "server.lock"  # the server holds it for its life
        self._running = self.folder / "server.json"
        self._begun = self.folder / "begun"
        self._ended = self.folder / "ended"
        self._notices = self.folder / "notices"

    def create(self) -> None:
        """Make the folder, closed to other users. Raises Failed where it is a link or somebody else's."""
        own_folder(self.folder)
        (self.folder / ".gitignore").write_text("*\n")

    @contextmanager
    def starting(self, say: Callable[[str], None], seconds: float) -> Iterator[None]:
        """Let one command start or stop the server at a time; the others wait, so many seconds at most.

        Raises Failed where that was not enough.
        """
        self.create()
        with (self.folder / "start.lock").open("w") as file:
            if not try_to_lock(file, fcntl.LOCK_EX):
                say("Another command starts or stops the sandbox: waiting until it is through.")
                lock_within(file, seconds, "the start of the sandbox", say)
            yield

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the server's lock; yields False where another process holds it, and not only looks."""
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
        """Return True while a server runs, ready or starting. Several may look at once."""
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
        """Return what a server left when it became ready; it is taken away by an orderly stop only."""
        try:
            return Running(**json.loads(self._running.read_text()))
        except FileNotFoundError:
            return None

    def ready(self, running: Running) -> None:
        write_private(self._running, json.dumps(asdict(running)))

    def begin(self) -> None:
        """Note that a server is being started: whoever finds the note and no server clears up after it."""
        self._begun.touch()
        self._notices.unlink(missing_ok=True)

    def left(self) -> bool:
        """Return True where a server was started and has not been stopped, or cleared up after, since."""
        return any(file.exists() for file in (self._begun, self._running, self._ended))

    def stopped(self) -> None:
        for file in (self._running, self._begun):
            file.unlink(missing_ok=True)

    def ended(self, reason: str) -> None:
        """Note why the server ends by itself: a part of it has ended and cannot be started again."""
        self._ended.write_text(reason)

    def why_ended(self) -> str:
        """Return that reason, once; empty where there is none."""
        return _taken(self._ended)

    def notice(self, line: str) -> None:
        """Note what the next command tells the person who runs it."""
        with self._notices.open("a") as file:
            file.write(f"{line}\n")

    def notices(self) -> list[str]:
        """Return what was noted since somebody asked."""
        return _taken(self._notices).splitlines()

    def end_server(self) -> int:
        """End the server's process at once, starting or ready; return how many there were: one or none."""
        found = [each for each in self._marked() if _SERVER in _words(each)]
        _end(found)
        return len(found)

    def sweep(self) -> int:
        """End every process that carries this folder's mark, and say how many there were."""
        found = list(self._marked())
        _end(found)
        return len(found)

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(OWNER) == str(self.folder):
                    yield process
            except (psutil.Error, OSError):  # it ended meanwhile, or it is somebody else's
                continue


def _end(found: list[psutil.Process]) -> None:
    for process in found:
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()
    end = time.monotonic() + 10
    while any(_lives(process) for process in found) and time.monotonic() < end:
        time.sleep(0.02)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.Error, OSError):
        return []


def _taken(file: Path) -> str:
    """Read a file and take it away, so that of several one reads it."""
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.replace(mine)
        text = mine.read_text()
    except FileNotFoundError:
        return ""
    mine.unlink(missing_ok=True)
    return text.strip()


def _lives(process: psutil.Process) -> bool:
    """Return True while it runs: one that ended and that nobody collects (in many containers) does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
