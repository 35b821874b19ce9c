"""The agent's hold on one task's process: starts it, hears it, reaches into it, ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from copilot_sandbox.agent import container, namespace, port_forwards, wire
from copilot_sandbox.boot import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

DOOR_WAIT = 2.0  # seconds for a task's process to hand out a socket
FINAL_WAIT = 5.0  # seconds for a task's process to end once it has closed its socket


def command(*arguments: str) -> list[str]:
    return [*bare("copilot_sandbox.agent.task", "main"), *arguments]


def probe() -> tuple[namespace.Way, str | None]:
    """Return the way to a localhost of its own that this system allows, and why not the first one."""
    attempt = subprocess.run(
        command("probe", "10.0.255.254"),
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    if attempt.returncode == 0:
        return "namespace", None
    words = (attempt.stdout or attempt.stderr).strip().splitlines() or ["for an unknown reason"]
    return "loopback", words[-1]


class Runner:
    """One task's process. `on_state` and `on_log` are called from a thread of its own.

    The last state told is STOPPED, and when it is told no process and no file of the task is left.
    """

    def __init__(
        self,
        task_id: str,
        directory: Path,
        spec: wire.TaskSpec,
        *,
        owner_env: Mapping[str, str],
        on_state: Callable[[wire.Event], None],
        on_log: Callable[[wire.Event], None],
    ) -> None:
        self.task_id = task_id
        self._directory = directory
        self._on_state = on_state
        self._on_log = on_log
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._control, control = socket.socketpair()
        self._door, door = socket.socketpair()

        with control, door:
            self._process = subprocess.Popen(
                command(str(control.fileno()), str(door.fileno())),
                env={**owner_env, "SANDBOX_TASK": task_id, "PATH": container.SYSTEM_PATH},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[control.fileno(), door.fileno()],
                start_new_session=True,
                umask=0o022,  # a container's, as in Docker; nobody else gets to its folder
            )
        self._thread = threading.Thread(
            target=self._attend, args=(spec,), name=f"task {task_id}", daemon=True
        )
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open_socket(self) -> socket.socket:
        """Return a socket of the task's network namespace. Raises OSError where the task is gone."""
        with self._asking:
            self._door.sendall(b"?")
            data, descriptors, _, _ = socket.recv_fds(self._door, 1, 1)
            if not data or not descriptors:
                raise ConnectionResetError("the task is gone")
        return socket.socket(fileno=descriptors[0])

    def stop(self, reason: str, code: str, limit: float | None = None) -> None:
        """End the containers as ECS does; with `limit`, within so many seconds."""
        order: wire.Stop = {"reason": reason, "code": code, "limit": limit}
        with self._sending, contextlib.suppress(OSError):
            self._control.sendall(wire.pack(order))

    def kill(self) -> None:
        """End everything at once: the process does so when its socket closes."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def join(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _attend(self, spec: wire.TaskSpec) -> None:
        try:
            self._listen(spec)
        except Exception as error:
            # A mistake of ours must not leave a task that seems to run for ever.
            logger.exception("task %s: nobody listens to its process any more", self.task_id)
            self._process.kill()
            sweep(self.task_id)
            gone: wire.Event = {"event": "state", "containers": []}
            self._tell(self._on_state, self._obituary(gone, f"InternalError: {error}"))

    def _listen(self, spec: wire.TaskSpec) -> None:
        final: wire.Event | None = None
        last: wire.Event = {"event": "state", "containers": []}
        listeners: list[socket.socket] = []
        with contextlib.suppress(OSError), self._sending, self._asking:
            self._control.sendall(wire.pack(spec))
            listeners = port_forwards.serve(spec["port_forwards"], self._door) if spec["namespace"] else []
            self._door.settimeout(DOOR_WAIT)
        while (event := self._receive()) is not None:
            if event["event"] == "log":
                self._tell(self._on_log, event)
                continue
            last = event
            if event["status"] == "STOPPED":
                final = event
            else:
                self._tell(self._on_state, event)
        port_forwards.close(listeners)
        complaint = self._bury()
        if final is None:
            final = self._obituary(last, complaint)
        remove_tree(self._directory)
        self._tell(self._on_state, final)

    def _receive(self) -> wire.Event | None:
        try:
            event: wire.Event | None = wire.receive(self._control)
        except (OSError, ValueError):
            return None
        return event

    def _tell(self, listener: Callable[[wire.Event], None], event: wire.Event) -> None:
        try:
            listener(event)
        except Exception:
            # A listener's mistake must not leave the task unheard.
            logger.exception("task %s: %s could not be passed on", self.task_id, event["event"])

    def _bury(self) -> str:
        """Wait for the process, end what it left behind, return its last words."""
        self._control.close()
        self._door.close()
        try:
            _, errors = self._process.communicate(timeout=FINAL_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, errors = self._process.communicate()
        sweep(self.task_id)
        return errors.decode(errors="replace").strip()

    def _obituary(self, last: wire.Event, complaint: str) -> wire.Event:
        if complaint:
            logger.error("task %s: its process ended with: %s", self.task_id, complaint)
        for each in last.get("containers", []):
            if each["status"] != "STOPPED":
                each["status"], each["exit_code"] = "STOPPED", 137
        reason = last.get("reason") or "The task's process ended unexpectedly" + (
            f": {complaint.splitlines()[-1]}" if complaint else " (killed)"
        )
        code = last.get("code") or "TaskFailedToStart"
        return {**last, "status": "STOPPED", "reason": reason, "code": code}


def sweep(task_id: str) -> None:
    """End whatever still carries the task's mark in its environment (a daemon of a container, say)."""
    for _ in range(3):
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get("SANDBOX_TASK") == task_id:
                    process.kill()
                    found = True
        if not found:
            return


def remove_tree(directory: Path) -> None:
    """Delete a task's files, also where a container has made directories read-only."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for each, _, _ in os.walk(directory):
            with contextlib.suppress(OSError):
                Path(each).chmod(stat.S_IRWXU)
        shutil.rmtree(directory, ignore_errors=True)
