"""A container engine of this machine: Podman, driven over the interface that it shares with Docker.

Containers are created over the engine's socket, because their variables must not be arguments of a program,
and a file of variables cannot contain a line feed. Only the standard library is used here, because the
task's process and the sandbox's `docker` start without site-packages.
Source: https://docs.docker.com/reference/api/engine/version/v1.40/
"""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_API = "/v1.40"
_PODMANS_API = "/v4.0.0/libpod"  # for what Docker's has not, or only in other words
_PERIOD = 100_000  # microseconds, in which the kernel counts the processor time of a container
_START_SECONDS = 20.0  # for the service to answer on its socket
_ANSWER_SECONDS = 60.0  # for one call; creating a container copies nothing and takes about a second
_PROBE_SECONDS = 30
_PULL_SECONDS = 900  # a large image over a slow line
_LOOK_SECONDS = 0.2
_OK = range(200, 300)
_NOT_CHANGED, _NOT_FOUND = 304, 404
# Source: containers.conf(5), helper_binaries_dir
_INIT_FOLDERS = (
    *("/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"),
    "/usr/bin",
)
SOCKET = "engine.sock"  # in the sandbox's folder
_USED = "engine.used"  # beside it, if an engine has ever run for this sandbox
OWNER_LABEL = "copilot-sandbox.owner"  # the sandbox's folder
TASK_LABEL = "copilot-sandbox.task"
# An engine reads its own settings from these variables, so it gets them and no others.
_VARIABLES = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "LANG", "LC_ALL")


class EngineError(Exception):
    """The engine refused a call; the message is the engine's."""


class Engine(NamedTuple):
    """The engine's program, and the socket on which the sandbox's own service of it answers."""

    program: str
    socket: str
    has_init: bool = False  # it can put a small init process first in a container
    version: Sequence[int] = ()

    @property
    def name(self) -> str:
        return Path(self.program).name

    @property
    def can_update(self) -> bool:
        """True if the limits of a running container can be changed: from Podman 4.3 on."""
        return tuple(self.version) >= (4, 3)

    def remote(self, *words: str) -> list[str]:
        """Return a command line whose work the service does."""
        return [self.program, "--remote", "--url", f"unix://{self.socket}", *words]

    def serve(self, marks: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the service on the socket with the variables `marks`, and wait until it answers.

        Raises EngineError.
        """
        Path(self.socket).unlink(missing_ok=True)
        Path(self.socket).with_name(_USED).touch()
        service = subprocess.Popen(
            [self.program, "system", "service", "--time=0", f"unix://{self.socket}"],
            env={**variables(), **marks},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and service.poll() is None:
            with suppress(OSError, EngineError, http.client.HTTPException):
                self.call("GET", "/_ping")
                return service
            time.sleep(0.02)
        service.kill()
        service.wait()
        raise EngineError(f"{self.name}'s service did not answer within {_START_SECONDS:.0f} s")

    def call(self, method: str, path: str, body: object = None, *, api: str = _API, **query: object) -> Any:
        """Make one call and return the answer's JSON. Raises EngineError with the engine's message."""
        connection = _Connection(self.socket)
        address = f"{api}{path}" + (f"?{urlencode(query)}" if query else "")
        text = None if body is None else json.dumps(body)
        try:
            connection.request(method, address, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"{self.name} did not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status not in _OK and answer.status != _NOT_CHANGED:
            raise EngineError(_message(data) or f"HTTP {answer.status}")
        try:
            return json.loads(data) if data.strip() else None
        except ValueError:
            return None

    def create(self, name: str, settings: object) -> None:
        self.call("POST", "/containers/create", settings, name=name)

    def create_volume(self, name: str, labels: object) -> None:
        """Create a volume; another container of its task may have done so."""
        self.call("POST", "/volumes/create", {"Name": name, "Labels": labels})

    def start(self, name: str) -> None:
        self.call("POST", f"/containers/{quote(name)}/start")

    def limit_cpus(self, name: str, cpus: float) -> None:
        """Let a container that runs use `cpus` processors, or all if it is 0. It may have ended."""
        limit = {"period": _PERIOD, "quota": int(cpus * _PERIOD) or -1}
        with suppress(EngineError):
            self.call("POST", f"/containers/{quote(name)}/update", {"cpu": limit}, api=_PODMANS_API)

    def state(self, name: str) -> dict[str, Any]:
        """Return the container's state: `Running`, `ExitCode`, `OOMKilled`. Raises EngineError."""
        found: dict[str, Any] = self.call("GET", f"/containers/{quote(name)}/json")["State"]
        return found

    def log_of(self, name: str) -> tuple[str, int]:
        """Return the file with a container's output, and the id of the process that writes it."""
        found = self.call("GET", f"/containers/{quote(name)}/json", api=_PODMANS_API)
        return found["HostConfig"]["LogConfig"]["Path"], found["State"]["ConmonPid"]

    def ended(self, name: str) -> dict[str, Any]:
        """Wait until a container ends that has closed its output. Return its state. Raises EngineError."""
        while (state := self.state(name))["Running"]:
            time.sleep(_LOOK_SECONDS)
        return state

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the container's first process. A container that has ended is no error."""
        with suppress(EngineError):
            self.call("POST", f"/containers/{quote(name)}/kill", signal=number)

    def remove(self, name: str) -> None:
        """End a container and remove it with its anonymous volumes. It need not exist."""
        with suppress(EngineError):
            self.call("DELETE", f"/containers/{quote(name)}", force="true", v="true")

    def sweep(self, label: str, value: str) -> None:
        """End and remove all containers, then all volumes, that have this label."""
        filters = json.dumps({"label": [f"{label}={value}"]})
        with suppress(EngineError):
            for found in self.call("GET", "/containers/json", all="true", filters=filters) or ():
                self.remove(found["Id"])
            for found in (self.call("GET", "/volumes", filters=filters) or {}).get("Volumes") or ():
                with suppress(EngineError):
                    self.call("DELETE", f"/volumes/{quote(found['Name'])}", force="true")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _message(data: bytes) -> str:
    try:
        document = json.loads(data)
        return " ".join(str(document.get("message") or document.get("cause") or "").split())
    except (ValueError, AttributeError):
        return " ".join(data.decode("utf-8", "replace").split())[:300]


def qualified(reference: str) -> str:
    """Return an image's name with its registry, as Docker completes it: `redis:7` is on Docker Hub."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return reference
    return f"docker.io/{reference if slash else f'library/{reference}'}"


def find(wanted: str, socket_folder: Path, *, has_namespace: bool) -> tuple[Engine | None, str]:
    """Return the engine to use, and in one clause why there is none.

    `wanted` is the setting SANDBOX_CONTAINERS. `has_namespace`: a task has a network namespace of its own.
    """
    program = shutil.which("podman")
    obstacles = {
        "SANDBOX_CONTAINERS=processes": wanted == "processes",
        "Docker cannot be used so far, only Podman": program is None and shutil.which("docker") is not None,
        "Podman is not installed": program is None,
        "Podman can be used by root on Linux only": sys.platform != "linux" or os.geteuid() != 0,
        "this system gives a task no network namespace": not has_namespace,
    }
    reason = next((text for text, holds in obstacles.items() if holds), "")
    if program is None or reason:
        return None, reason
    try:
        done = _run([program, "info", "--format", "{{.Version.Version}}"], _PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"Podman does not answer: {error}"
    if done.returncode:
        return None, f"Podman does not work: {_last_line(done.stderr)}"
    has_init = any(Path(folder, "catatonit").is_file() for folder in _INIT_FOLDERS)
    version = tuple(int(number) for number in re.findall(r"\d+", done.stdout)[:3])
    return Engine(program, str(socket_folder / SOCKET), has_init, version), ""


def clean(state_dir: Path, *, with_images: bool) -> None:
    """End the containers that a sandbox's killed server left. Its service need not answer.

    With `with_images`, remove the images that were built for it, too.
    """
    program = shutil.which("podman")
    if program is None or not (state_dir / _USED).exists():
        return
    ours = ("--quiet", "--filter", f"label={OWNER_LABEL}={state_dir}")
    for listing, removal in (
        (("ps", "--all", *ours), ("rm", "--force", "--volumes")),
        (("volume", "ls", *ours), ("volume", "rm", "--force")),
        *(((("images", "--no-trunc", *ours), ("rmi", "--force")),) if with_images else ()),
    ):
        names = _run([program, *listing], _ANSWER_SECONDS).stdout.split()
        if names:
            _run([program, *removal, *dict.fromkeys(names)], _ANSWER_SECONDS)


def has_image(command: Sequence[str], image: str) -> bool:
    """Return True if this machine has the image. `command` is the engine's program, or `Engine.remote()`."""
    return _run([*command, "image", "exists", image], _ANSWER_SECONDS).returncode == 0


def pull(command: Sequence[str], image: str, proxies: Mapping[str, str] | None = None) -> str:
    """Pull an image. Return why that failed, in the engine's last line; empty if it did not."""
    done = _run([*command, "pull", "--quiet", image], _PULL_SECONDS, proxies)
    return _last_line(done.stderr) if done.returncode else ""


def _run(
    words: list[str], seconds: float, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**variables(), **(more or {})},
        timeout=seconds,
    )


def variables() -> dict[str, str]:
    """Return the variables of the engine's own programs."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def container_settings(
    env: Mapping[str, str], labels: Mapping[str, str], binds: Sequence[str]
) -> dict[str, Any]:
    """Return the settings that each container has, in the words of Docker's API."""
    return {
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},  # ECS ignores an image's own
        "HostConfig": {
            "Binds": list(binds),
            "LogConfig": {"Type": "k8s-file"},
            # The folder of Postgres's socket is open to root's group, and to no other.
            "GroupAdd": ["0"],
            "Ulimits": [{"Name": kind, "Soft": soft, "Hard": hard} for kind, soft, hard in limits()],
        },
    }


def limits() -> list[tuple[str, int, int]]:
    """Return name, soft and hard limit for a container: this process's own, which it may always pass on.

    An engine raises limits by itself, which a machine may refuse. Podman lowers its own number of processes
    to the system's number of process ids.
    """
    pids = int(Path("/proc/sys/kernel/pid_max").read_text())
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = (
        pids if value == resource.RLIM_INFINITY else min(value, pids)
        for value in resource.getrlimit(resource.RLIMIT_NPROC)
    )
    soft, hard = processes
    return [("nofile", *files), ("nproc", soft, hard)]


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split()) if lines else "it gives no reason"
