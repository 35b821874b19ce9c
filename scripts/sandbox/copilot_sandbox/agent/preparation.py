"""Prepares what a task's process has to run: with an engine, or as processes of this machine."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox.agent import catalogue, filesystem, missing_programs, nginx
from copilot_sandbox.agent.confined import hidden
from copilot_sandbox.agent.container import arguments, compose, compose_for_engine, without_key
from copilot_sandbox.agent.engine import qualified
from copilot_sandbox.boot import PACKAGE
from copilot_sandbox.env_files import parse_env_file
from copilot_sandbox.model import NGINX_VERSION
from copilot_sandbox.postgres import bin_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from copilot_sandbox.agent import wire
    from copilot_sandbox.agent.discovery import Named
    from copilot_sandbox.agent.engine import Engine
    from copilot_sandbox.agent.namespace import Way
    from copilot_sandbox.agent.port_forwards import PortForward
    from copilot_sandbox.model import Container, ControlPlane, Image, TaskDefinition

MISSING = (
    "ResourceInitializationError: unable to pull secrets or registry auth: "
    "execution resource retrieval failed: unable to retrieve secrets from ssm: "
    "service call has been retried 1 time(s): "
    "The parameter {name} could not be found (variable {variable} of container {container})."
)


class PreparationError(Exception):
    """The task can't start; the message is its stopped reason."""


@dataclass(frozen=True)
class Settings:
    """The settings that all tasks of an agent share.

    `supply` is called for each secret with its variable, its name or ARN, the environment and the stored
    value, None if there is none. It returns the value, None if there is none, and a note for the user or an
    empty text. `aws` returns the variables for a task role's ARN with which a program reaches AWS, and the
    certificate to trust.
    """

    control_plane: ControlPlane
    directory: Path
    find_image: Callable[[str], Image | None]
    owner_env: Mapping[str, str]
    way: Way
    port_forwards: Sequence[PortForward]
    readable: Sequence[Path]  # folders of this machine that every container may read
    own_filesystem: bool  # containers have a file system of their own
    engine: Engine | None  # what runs the containers; None: they run as processes
    supply: Callable[[str, str, str, str | None], tuple[str | None, str]]
    aws: Callable[[str], tuple[Mapping[str, str], Path | None]]


class Order(NamedTuple):
    """The task to prepare."""

    definition: TaskDefinition
    task: str
    address: str
    directory: Path  # the task's own
    host: str | None  # the loopback address that replaces localhost, None in a network namespace
    named: Sequence[Named] = ()  # services that the task reaches by name
    one_off: bool = False


class Prepared(NamedTuple):
    """The message to the task's process; a digest for each container; notes by container."""

    spec: wire.TaskSpec
    digests: list[str | None]
    notes: dict[str, str | None]


def for_engine(settings: Settings, order: Order, engine: Engine) -> Prepared:
    """Prepare a task whose containers the engine runs. Raises PreparationError and NoImageError."""
    specs: list[wire.EngineSpec] = []
    digests: list[str | None] = []
    notes: dict[str, str | None] = {}
    aws, readable = _aws(settings, order)
    for defined in order.definition.containers:
        container = _with_files(settings, defined)
        secrets, notes[container.name] = _secrets(settings, defined)
        image = settings.find_image(container.image)
        of_image: Mapping[str, str] = {} if image is None else image.env
        if image is None:
            catalogue.refuse_ecr(container.image)
        digests.append(image.digest if image else None)
        specs.append(
            compose_for_engine(
                container,
                qualified(container.image) if image is None else image.engine_id,
                is_public=image is None,
                task=order.task,
                secrets=secrets,
                readable=[*settings.readable, *readable],
                defaults={
                    name: value
                    for name, value in without_key(aws, {*of_image, *container.environment, *secrets}).items()
                    if name not in of_image
                },
                memory=int(order.definition.memory or 0) * 2**20,
                cpus=int(order.definition.cpu or 0) / 1024,
                engine=engine,
                owner=str(settings.directory.parent),
                hosts=[f"{each.host}:{each.address}" for each in order.named],
            )
        )
    spec: wire.TaskSpec = {
        "namespace": True,
        "address": order.address,
        "port_forwards": _port_forwards(settings, order),
        "filesystem": None,
        "directories": [],
        "containers": specs,
        "engine": engine,
    }
    return Prepared(spec, digests, notes)


def for_processes(settings: Settings, order: Order) -> Prepared:
    """Prepare a task whose containers run as processes. Errors: see `for_engine`."""
    directory, host = order.directory, order.host
    readable = {*settings.readable, PACKAGE}
    volumes = {name: directory / "volumes" / name for name in order.definition.volumes}
    specs: list[wire.ContainerSpec] = []
    digests: list[str | None] = []
    notes: dict[str, str | None] = {}
    secrets: dict[str, dict[str, str]] = {}
    for each in order.definition.containers:  # first, because what follows unpacks images
        secrets[each.name], notes[each.name] = _secrets(settings, each)
    aws, _ = _aws(settings, order)
    common = catalogue.write_common(directory / ".bin")
    own_tmp = settings.own_filesystem and host is None
    homes = Path("/tmp") if own_tmp else directory  # noqa: S108 - the task's own
    for number, defined in enumerate(order.definition.containers):
        container = _with_files(settings, defined)
        own = directory / container.name
        image = settings.find_image(container.image)
        # These replace programs that apt-get would install.
        tools: tuple[Path, ...] = (bin_dir(), common)
        if image is None:
            public = catalogue.provide(container.image, own, host)
            image, tools = public.image, public.tools
            notes[container.name] = _joined(notes[container.name], public.note)
        if NGINX_VERSION in image.env:
            upstream = nginx.upstream_of(order.definition.containers, defined)
            provided = nginx.provide(container, image, own, host, upstream)
            tools = (provided.programs, *tools)
            notes[container.name] = _joined(notes[container.name], provided.note)
        readable |= {image.root, *tools, *image.programs}
        digests.append(image.digest or None)
        for mount in container.mounts:
            volumes.setdefault(mount.volume, directory / "volumes" / mount.volume)
        composed = compose(
            container,
            image,
            directory=own,
            home=homes / f".h{number}",
            volumes=volumes,
            secrets=secrets[container.name],
            owner_env={**settings.owner_env, "SANDBOX_TASK": order.task},
            host=host,
            tools=tools,
            defaults=without_key(aws, {*image.env, *container.environment, *container.secrets}),
            first=image.start_commands if _serves(order, container) else (),
        )
        specs.append(composed)
        if image.digest:  # the project's own
            names = missing_programs.missing(arguments(container, image), image, composed["env"]["PATH"])
            notes[container.name] = _joined(notes[container.name], missing_programs.note(names))
    spec: wire.TaskSpec = {
        "namespace": host is None,
        "address": order.address,
        "port_forwards": _port_forwards(settings, order),
        "filesystem": _filesystem(directory, readable, order.named) if settings.own_filesystem else None,
        "directories": [str(each) for each in volumes.values()],
        "containers": specs,
        "engine": None,
    }
    return Prepared(spec, digests, notes)


def _serves(order: Order, container: Container) -> bool:
    """Return False for a container that only does something and ends: for it, files of pages cost time."""
    others = order.definition.containers
    return not order.one_off and all(
        each.depends_on.get(container.name) not in ("COMPLETE", "SUCCESS") for each in others
    )


def _joined(*notes: str | None) -> str | None:
    return "; ".join(filter(None, notes)) or None


def _port_forwards(settings: Settings, order: Order) -> list[PortForward]:
    """Return the forwards, without those to a port that a container of the task (a Redis sidecar) has."""
    own_ports = {port for each in order.definition.containers for port in each.ports}
    forwards = [*settings.port_forwards, *(forward for each in order.named for forward in each.forwards)]
    return [each for each in forwards if each[1] not in own_ports]


def _filesystem(directory: Path, readable: set[Path], named: Sequence[Named]) -> list[object]:
    scratch = directory / "scratch"
    scratch.mkdir()
    hosts = "".join(f"{each.address} {each.host}\n" for each in named)
    outside = [str(each) for each in readable if not each.is_relative_to(directory)]
    shown = [*outside, *filesystem.interpreter()]
    return [*filesystem.Shown(shown, [str(directory)], hidden(), str(scratch), hosts)]


def _aws(settings: Settings, order: Order) -> tuple[dict[str, str], list[Path]]:
    """Return the variables with which a program reaches the embedded AWS, and the files that they name.

    A task without a network namespace does not reach it.
    """
    if order.host is not None:
        return {}, []
    variables, authority = settings.aws(order.definition.role)
    if authority is None:
        return dict(variables), []
    own = order.directory / authority.name
    shutil.copyfile(authority, own)
    own.chmod(0o644)  # an image may have another user; on this machine the folder keeps others out
    return {**variables, "AWS_CA_BUNDLE": str(own)}, [own]


def _with_files(settings: Settings, container: Container) -> Container:
    """Return a container with the variables of its environment files, which its own variables replace.

    Raises PreparationError.
    """
    found: dict[str, str] = {}
    for arn in container.environment_files:
        try:
            found |= parse_env_file(settings.control_plane.environment_file(arn))
        except KeyError as error:
            raise PreparationError(
                f"ResourceInitializationError: failed to download env files: {arn} does not exist"
            ) from error
    return replace(container, environment={**found, **container.environment})


def _secrets(settings: Settings, container: Container) -> tuple[dict[str, str], str | None]:
    """Return a container's secrets, and a note on those that are made up. Raises PreparationError."""
    values, notes = {}, []
    environment = container.environment.get("COPILOT_ENVIRONMENT_NAME", "")
    for variable, name in container.secrets.items():
        stored: str | None = None
        with suppress(KeyError):
            stored = settings.control_plane.secret(name)
        value, note = settings.supply(variable, name, environment, stored)
        if value is None:
            missing = MISSING.format(name=name, variable=variable, container=container.name)
            raise PreparationError(f"{missing}{note}")
        values[variable] = value
        notes += [note] if note else []
    return values, _joined(*notes)
