"""Translates a container definition and its image to a command, variables and paths of this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from copilot_sandbox.agent.engine import OWNER_LABEL, TASK_LABEL, container_settings
from copilot_sandbox.agent.script_paths import moved_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from copilot_sandbox.agent.engine import Engine
    from copilot_sandbox.agent.wire import ContainerSpec, EngineSpec, HealthSpec
    from copilot_sandbox.model import Container, HealthCheck, Image, StartCommand

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Directories that a container shares with the machine: a path is moved only if the image has the file itself.
SYSTEM_DIRECTORIES = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/sys", "/usr")
LOCAL_HOST = re.compile(r"(?<![\w.-])(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?![\w-]|\.\w)")
# These variables name callers, not addresses to connect to or listen on: the browser still uses `localhost`.
CALLERS = re.compile(r"ALLOWED_HOSTS|ORIGIN|COPILOT_LB_DNS", re.IGNORECASE)
# Where the images of Python on Docker Hub have Python and its packages.
_PYTHON_OF_IMAGES = "/usr/local"
_KEY = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
_VARIABLES = {"LANG": "C.UTF-8", "TZ": "UTC"}
UNIX_SOCKET = re.compile(r"unix:|host=(?:/|%2[Ff])|@%2[Ff]|\.sock\b")


def compose(
    container: Container,
    image: Image,
    *,
    directory: Path,
    home: Path,
    volumes: Mapping[str, Path],
    secrets: Mapping[str, str],
    owner_env: Mapping[str, str],
    host: str | None,
    tools: Sequence[Path] = (),
    defaults: Mapping[str, str] | None = None,
    first: Sequence[StartCommand] = (),
) -> ContainerSpec:
    """Return what the task's process has to run for `container`.

    `directory` is the container's own, and so is `home`, whose path is short: programs make sockets in it,
    and a socket's path has at most 107 bytes (unix(7)). `host` is the loopback address that replaces
    localhost, None in a network namespace. `tools` are directories that every container has on its PATH,
    after its image's. `defaults` are variables that the image, or the task definition, may replace. `first`
    are carried out before the container's command; they get the variables of the build, as in Docker, and no
    others.
    """
    root = directory / "root"
    move = path_mover(root, image, [mount.path for mount in container.mounts])

    def use_loopback(text: str) -> str:
        return text if host is None else LOCAL_HOST.sub(host, text)

    def adapt_value(name: str, value: str) -> str:
        return move(value if CALLERS.search(name) else use_loopback(value))

    own = [str(image.venv / "bin")] if image.venv else []
    own += [move(part) for part in image.env.get("PATH", "").split(":") if move(part) != part]
    env = {
        "HOME": str(home),
        **_VARIABLES,
        **(defaults or {}),
        **{name: adapt_value(name, value) for name, value in image.env.items() if name != "PATH"},
        **{name: adapt_value(name, value) for name, value in container.environment.items()},
        **{
            name: value if UNIX_SOCKET.search(value) or CALLERS.search(name) else use_loopback(value)
            for name, value in secrets.items()
        },
        **owner_env,
    }
    env["PATH"] = ":".join([*own, *map(str, tools), env.get("PATH", SYSTEM_PATH)])
    own_env = {"HOME": env["HOME"], "PATH": env["PATH"], **owner_env}
    return {
        "name": container.name,
        "essential": container.essential,
        "first": [
            {
                "line": each.line,
                "argv": [move(use_loopback(word)) for word in each.words],
                "env": {
                    **_VARIABLES,
                    **{name: adapt_value(name, value) for name, value in each.env.items()},
                    **own_env,
                },
                "cwd": working_directory(each.workdir, root, move),
                "may_fail": each.may_fail,
            }
            for each in first
        ],
        "argv": [move(use_loopback(word)) for word in arguments(container, image)],
        "env": env,
        "cwd": working_directory(container.working_directory or image.workdir, root, move),
        "root": str(root),
        "copy_from": str(image.root) if image.root.is_dir() else None,
        "texts": moved_texts(arguments(container, image), image, move),
        "mounts": {mount.path: str(volumes[mount.volume]) for mount in container.mounts},
        "paths": {
            **{str(volumes[mount.volume]): mount.path for mount in container.mounts},
            str(root): "",
            **({str(image.venv): _PYTHON_OF_IMAGES} if image.venv else {}),
        },
        "depends_on": dict(container.depends_on),
        "health": health(container.health_check, lambda word: move(use_loopback(word))),
        "stop_timeout": container.stop_timeout,
    }


def without_key(aws: Mapping[str, str], given: Collection[str]) -> dict[str, str]:
    """Return AWS's variables without a task role's key if a container is given another one."""
    if "AWS_ACCESS_KEY_ID" not in given:
        return dict(aws)
    return {name: value for name, value in aws.items() if name not in _KEY}


def compose_for_engine(
    container: Container,
    image: str,
    *,
    is_public: bool,
    task: str,
    secrets: Mapping[str, str],
    readable: Sequence[Path],
    defaults: Mapping[str, str],
    memory: int,
    cpus: float,
    engine: Engine,
    owner: str,
    hosts: Sequence[str] = (),
) -> EngineSpec:
    """Return what the task's process has to create with the engine for `container`.

    `image` is a name or an id that the engine knows. `readable` are folders and files of this machine that
    the container sees under the same path. `defaults` are variables that the task definition may replace;
    they replace those of the image. `memory` is in bytes; 0 means no limit, for `cpus` too. They are the
    task's, and each of its containers may use all of it. An engine that can change the limit later gets that
    of `cpus` when the task is in service.
    """
    name = name_of(task, container.name)
    labels = {OWNER_LABEL: owner, TASK_LABEL: task}
    volumes = [
        f"{volume_of(task, mount.volume)}:{mount.path}" + (":ro" if mount.read_only else "")
        for mount in container.mounts
    ]
    variables = {**defaults, **container.environment, **secrets}
    binds = [*volumes, *(f"{folder}:{folder}:ro" for folder in readable)]
    settings = container_settings(variables, labels, binds)
    settings["HostConfig"] |= {
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": 0 if engine.can_update else int(cpus * 1e9),
        "Init": engine.has_init,  # Copilot's task definitions ask for it
        **({"ExtraHosts": list(hosts)} if hosts else {}),
    }
    if container.entry_point is not None:
        settings["Entrypoint"] = list(container.entry_point)
    if container.command is not None:
        settings["Cmd"] = list(container.command)
    if container.working_directory:
        settings["WorkingDir"] = container.working_directory
    check = health(container.health_check, lambda word: word)
    if check is not None:
        check["argv"] = engine.remote("exec", name, *check["argv"])
    return {
        "name": container.name,
        "essential": container.essential,
        "depends_on": dict(container.depends_on),
        "health": check,
        "stop_timeout": container.stop_timeout,
        "container": name,
        "image": image,
        "is_public": is_public,
        "volumes": [volume_of(task, mount.volume) for mount in container.mounts],
        "settings": settings,
    }


def name_of(task: str, container: str) -> str:
    """Return the engine's name of a task's container."""
    return f"copilot-sandbox-{task}-{container}"


def volume_of(task: str, volume: str) -> str:
    """Return the engine's name of a task's volume."""
    return name_of(task, re.sub(r"[^A-Za-z0-9_.-]", "_", volume))


def arguments(container: Container, image: Image) -> list[str]:
    """Return the command by Docker's rule: `command` replaces CMD; `entryPoint` replaces both."""
    if container.entry_point is not None:
        return [*container.entry_point, *(container.command or ())]
    return [*image.entrypoint, *(image.cmd if container.command is None else container.command)]


def health(check: HealthCheck | None, adapt: Callable[[str], str]) -> HealthSpec | None:
    """Return the health check as a command line; None if there is none, or it is `NONE`."""
    if check is None or not check.command or check.command[0] == "NONE":
        return None
    kind, *words = check.command
    if kind == "CMD-SHELL":
        argv = ["/bin/sh", "-c", adapt(" ".join(words))]
    else:
        argv = [adapt(word) for word in (words if kind == "CMD" else check.command)]
    return {
        "argv": argv,
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
    }


def path_mover(root: Path, image: Image, mounts: Sequence[str]) -> Callable[[str], str]:
    """Return a function that prefixes the image's paths in a text with the container's root.

    A path counts at the start of a word, after `=`, `:`, a quote or the like, and after a URL's `file://` or
    `sqlite:///`. It does not count in the middle of another path.
    """
    paths = {path.rstrip("/") for path in (*image.paths, image.workdir, *mounts)} - {""}
    if not paths:
        return lambda text: text
    longest_first = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    pattern = re.compile(
        rf"(?:(?<![\w./@-])|(?<=://)|(?<=:///))({longest_first})((?:/[^\s:;,'\"]*)?)(?![\w.-])"
    )

    def place(match: re.Match[str]) -> str:
        path = match[1] + match[2]
        shared = (
            path.startswith(tuple(f"{folder}/" for folder in SYSTEM_DIRECTORIES))
            or path in SYSTEM_DIRECTORIES
        )
        mounted = any(path == folder or path.startswith(f"{folder}/") for folder in mounts)
        if shared and not mounted and not (image.root / path.lstrip("/")).exists():
            return path
        return f"{root}{path}"

    return lambda text: pattern.sub(place, text)


def working_directory(path: str, root: Path, move: Callable[[str], str]) -> str:
    """Return the folder that the container starts in, under its root if the image lacks it."""
    if not path or path == "/":
        return str(root)
    moved = move(path)
    return moved if moved != path else f"{root}/{path.lstrip('/')}"
