"""Controls one task's process from the agent: starts it, receives its events, ends it."""

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
from copilot_sandbox.agent.engine import TASK_LABEL
from copilot_sandbox.boot import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from copilot_sandbox.agent.engine import Engine

logger = logging.getLogger(__name__)

SOCKET_REQUEST_WAIT = 2.0  # seconds that a task's process has to hand out a socket
FINAL_WAIT = 5.0  # seconds that a task's process has to end once its socket is closed


def command(*arguments: str) -> list[str]:
    return [*bare("copilot_sandbox.agent.task", "main"), *arguments]


def probe() -> tuple[namespace.Way, str | None]:
    """Return how this system can give a task its own localhost, and why a namespace is not possible."""
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
    """One task's process. `on_state` and `on_log` are called from the runner's own thread.

    The last state passed to `on_state` is STOPPED. By then all processes and files of the task are gone.
    """

    def __init__(
        self,
        task_id: str,
        directory: Path,
        spec: wire.TaskSpec,
        *,
        owner_env: Mapping[str, str],
        engine: Engine | None,
        on_state: Callable[[wire.Event], None],
        on_log: Callable[[wire.Event], None],
    ) -> None:
        self.task_id = task_id
        self._engine = engine
        self._directory = directory
        self._on_state = on_state
        self._on_log = on_log
        self._send_lock = threading.Lock()
        self._socket_requests_lock = threading.Lock()
        self._control, control = socket.socketpair()
        self._socket_requests, socket_requests = socket.socketpair()

        with control, socket_requests:
            self._process = subprocess.Popen(
                command(str(control.fileno()), str(socket_requests.fileno())),
                env={**owner_env, "SANDBOX_TASK": task_id, "PATH": container.SYSTEM_PATH},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[control.fileno(), socket_requests.fileno()],
                start_new_session=True,
                umask=0o022,  # as in a Docker container; other users can't enter its folder
            )
        self._thread = threading.Thread(target=self._run, args=(spec,), name=f"task {task_id}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open_socket(self) -> socket.socket:
        """Return a socket of the task's network namespace. Raises OSError if the task has ended."""
        with self._socket_requests_lock:
            self._socket_requests.sendall(b"?")
            data, descriptors, _, _ = socket.recv_fds(self._socket_requests, 1, 1)
            if not data or not descriptors:
                raise ConnectionResetError("the task has ended")
        return socket.socket(fileno=descriptors[0])

    def stop(self, reason: str, code: str, limit: float | None = None) -> None:
        """End the containers as ECS does; with `limit`, within that many seconds."""
        order: wire.Stop = {"reason": reason, "code": code, "limit": limit}
        with self._send_lock, contextlib.suppress(OSError):
            self._control.sendall(wire.pack(order))

    def kill(self) -> None:
        """End everything at once: the process ends itself when its socket closes."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def join(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self, spec: wire.TaskSpec) -> None:
        try:
            self._listen(spec)
        except Exception as error:
            # An error here must not leave a task that seems to run for ever.
            logger.exception("task %s: its events are no longer read", self.task_id)
            self._process.kill()
            self._sweep()
            gone: wire.Event = {"event": "state", "containers": []}
            self._notify(self._on_state, self._final_event(gone, f"InternalError: {error}"))

    def _listen(self, spec: wire.TaskSpec) -> None:
        final: wire.Event | None = None
        last: wire.Event = {"event": "state", "containers": []}
        listeners: list[socket.socket] = []
        with contextlib.suppress(OSError), self._send_lock, self._socket_requests_lock:
            self._control.sendall(wire.pack(spec))
            listeners = (
                port_forwards.serve(spec["port_forwards"], self._socket_requests) if spec["namespace"] else []
            )
            self._socket_requests.settimeout(SOCKET_REQUEST_WAIT)
        while (event := self._receive()) is not None:
            if event["event"] == "log":
                self._notify(self._on_log, event)
                continue
            last = event
            if event["status"] == "STOPPED":
                final = event
            else:
                self._notify(self._on_state, event)
        port_forwards.close(listeners)
        stderr = self._clean_up()
        if final is None:
            final = self._final_event(last, stderr)
        remove_tree(self._directory)
        self._notify(self._on_state, final)

    def _receive(self) -> wire.Event | None:
        try:
            event: wire.Event | None = wire.receive(self._control)
        except (OSError, ValueError):
            return None
        return event

    def _notify(self, listener: Callable[[wire.Event], None], event: wire.Event) -> None:
        try:
            listener(event)
        except Exception:
            # An error in a listener must not stop the reading of events.
            logger.exception("task %s: %s could not be passed on", self.task_id, event["event"])

    def _clean_up(self) -> str:
        """Wait for the process, kill the processes that it left, and return its stderr."""
        self._control.close()
        self._socket_requests.close()
        try:
            _, stderr = self._process.communicate(timeout=FINAL_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, stderr = self._process.communicate()
        self._sweep()
        return stderr.decode(errors="replace").strip()

    def _sweep(self) -> None:
        sweep(self.task_id)
        if self._engine is not None:
            self._engine.sweep(TASK_LABEL, self.task_id)

    def _final_event(self, last: wire.Event, stderr: str) -> wire.Event:
        """Return the STOPPED event of a process that ended without one, made from its last event."""
        if stderr:
            logger.error("task %s: its process ended with: %s", self.task_id, stderr)
        for state in last.get("containers", []):
            if state["status"] != "STOPPED":
                state["status"], state["exit_code"] = "STOPPED", 137
        reason = last.get("reason") or "The task's process ended unexpectedly" + (
            f": {stderr.splitlines()[-1]}" if stderr else " (killed)"
        )
        code = last.get("code") or "TaskFailedToStart"
        return {**last, "status": "STOPPED", "reason": reason, "code": code}


def sweep(task_id: str) -> None:
    """Kill all processes that have the task's mark in their environment (a daemon, for example)."""
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
    """Delete a task's files, also if a container has made directories read-only."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for folder, _, _ in os.walk(directory):
            with contextlib.suppress(OSError):
                Path(folder).chmod(stat.S_IRWXU)
        shutil.rmtree(directory, ignore_errors=True)
