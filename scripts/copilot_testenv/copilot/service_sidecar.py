"""Make a sidecar of a Worker or Backend Service's manifest: in test a branch is then one task.

The sidecar follows from two manifests alone, so that `check` can make it again and compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copilot_testenv.copilot import addons, inherited, manifest, patches, sidecars, yaml_edit
from copilot_testenv.copilot.manifest import mapping, over
from copilot_testenv.copilot.sidecars import Entry
from copilot_testenv.core import protection, workspace_files
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.settings import SERVICE_TYPE

KINDS = ("Worker Service", "Backend Service")
OWN_KINDS = (*KINDS, SERVICE_TYPE)  # that can be deployed beside the web service
OF_PERSON = "essential"  # the one key of such a sidecar that a person may change
SECRETS = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/"
# Only servers read these: a worker does not take them from the web service's block.
OF_SERVERS = re.compile(r"PORT|WEB_CONCURRENCY|FORWARDED_ALLOW_IPS|(GUNICORN|UVICORN)_\w+")
_PROTECTED = frozenset({*protection.PREFIXES, *protection.ENDINGS})
_CPU, _MEMORY = 256, 512  # Copilot's defaults, in CPU units and MiB
_COPIED = ("entrypoint", "command")
_GIVEN = ("variables", "secrets")


@dataclass(frozen=True)
class Service:
    """A service's manifest: its name, the content as it is written, and the block of one environment."""

    name: str
    content: Mapping[str, Any]
    block: Mapping[str, Any] | None

    @property
    def path(self) -> str:
        return f"copilot/{self.name}/{workspace_files.NAME}"

    @property
    def whole(self) -> dict[str, Any]:
        """The manifest in the environment: its block over the base."""
        merged: dict[str, Any] = over(dict(self.content), dict(self.block or {}))
        return merged


@dataclass(frozen=True)
class Made:
    """A sidecar for `sidecars.<name>`, and the steps that only a person can do, a sentence each."""

    sidecar: Mapping[str, Any]
    steps: tuple[str, ...] = field(default=())


def read(root: Path, name: str, environment: str, text: str | None = None) -> Service:
    """Read a service's manifest, or `text` in its place. Raises SettingsError."""
    file = workspace_files.services(root).get(name)
    if file is None:
        listed = ", ".join(workspace_files.services(root)) or "none"
        raise SettingsError(f"{name!r} is not a service of this workspace ({listed}): name one of these.")
    shown = file.relative_to(root).as_posix()
    if text is None:
        manifest.read(manifest.inside(file, root))  # a regular file that can be read
        text = file.read_text(encoding="utf-8")
    content = manifest.parse(text, shown, manifest.AS_WRITTEN)
    block = mapping(content, "environments").get(environment)
    return Service(name, content, block if isinstance(block, dict) else None)


def make(root: Path, service: Service, host: Service, environment: str) -> Made:
    """Make the sidecar of `host`'s task that runs `service` in the environment.

    Raises Refused for a service that cannot be a sidecar, SettingsError where its manifest is malformed.
    """
    require_kind(service)
    lent = {} if service.block is not None else inherited.image(dict(service.content), environment)
    whole, image = service.whole, mapping(service.whole, "image") or lent
    given, notes = _given(root, service, host, environment)
    mounts, volumes = _mounts(whole, host.whole)
    health, port = mapping(image, "healthcheck"), image.get("port")
    made: dict[str, Any] = {
        "image": _image(service, lent),
        OF_PERSON: False,
        **{key: whole[key] for key in _COPIED if whole.get(key)},
        "depends_on": _depends_on(image, service, host),
        **given,
        "env_file": _env_file(service, host),
        "mount_points": mounts,
        "healthcheck": health,
        "labels": mapping(image, "labels"),
        "credentialsParameter": image.get("credentials"),
        "port": port,
    }
    sidecar = {key: value for key, value in made.items() if value is not None and value not in ({}, [])}
    steps = (*notes, *volumes, *_steps(root, service, host, environment, sidecar))
    return Made(sidecar, steps)


def put(text: str, entry: Entry, environment: str, where: str) -> str:
    """Return the text of the web service's manifest with the sidecar, in the place of the one that is there.

    A person's `essential` stays. Raises SettingsError, and Refused as `sidecars.add` does.
    """
    found = manifest.parse(text, where, manifest.AS_WRITTEN)
    manifest.check_environment(found, environment, where)
    if entry.name not in mapping(found, "environments", environment, "sidecars"):
        return sidecars.add(text, entry, environment, "", where)
    there = mapping(found, "environments", environment, "sidecars", entry.name)
    if not differences(there, entry.sidecar):
        return text
    kept = {key: value for key, value in there.items() if key == OF_PERSON}

    def below(value: Any) -> dict[str, Any]:
        return {"environments": {environment: {"sidecars": {entry.name: value}}}}

    without, _ = yaml_edit.remove(text, below(yaml_edit.ANYTHING), where, keep=yaml_edit.ROOM)
    sidecars.check_free(manifest.parse(without, where), environment, entry, where)
    return yaml_edit.add(without, below({**entry.sidecar, **kept}), where)


def differences(placed: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Return the keys in which a manifest's sidecar differs from the one that is made now, without values."""
    found: list[str] = []
    for key in dict.fromkeys((*made, *placed)):
        there, wanted = placed.get(key), made.get(key)
        if key == OF_PERSON or there == wanted:
            continue
        if key in _GIVEN and isinstance(there, dict | None) and isinstance(wanted, dict | None):
            names = dict.fromkeys((*(wanted or {}), *(there or {})))
            found += [f"{key}.{name}" for name in names if _differ(name, there or {}, wanted or {})]
        else:
            found.append(key)
    return found


def _differ(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (name in one) != (name in other) or one.get(name) != other.get(name)


def require_kind(service: Service) -> None:
    """Raise Refused for a service that has an address of its own, or that is no service."""
    kind = service.content.get("type")
    if kind in KINDS:
        return
    why = {
        SERVICE_TYPE: "it has an address of its own, which a sidecar cannot have",
        "Scheduled Job": "a scheduled job does not run in a test environment",
    }.get(str(kind), "only these run as containers without an address")
    raise Refused(f"{service.name} is a {kind}, and no {' or '.join(KINDS)}: {why}. Leave it out there.")


# What the sidecar is made of.


def _image(service: Service, lent: Mapping[str, Any]) -> Any:
    """Return the sidecar's `image`. What the block has, a location or a build, replaces the base's."""
    own = mapping(service.block, "image")
    image = mapping(service.whole, "image")
    image = image if image.get("build") or image.get("location") else {**image, **lent}
    key = next((key for key in ("location", "build") if own.get(key)), "")
    key = key or next((key for key in ("build", "location") if image.get(key)), "")
    if not key:
        raise SettingsError(
            f"{service.path} has no `image.build` and no `image.location` for this environment: write one."
        )
    return image[key] if key == "location" else {"build": image["build"]}


def _depends_on(image: Mapping[str, Any], service: Service, host: Service) -> dict[str, Any]:
    """Return what the web container waits for, and of what the service itself waits for what is there.

    Somebody else's image, a broker say, waits for nothing of the project's. What waits for it is left out.
    """
    there = mapping(host.whole, "sidecars")
    of_web = mapping(host.whole, "image", "depends_on") if _runs_project(service, host) else {}
    return {
        name: condition
        for name, condition in {**of_web, **mapping(image, "depends_on")}.items()
        if name in there and name != service.name and service.name not in mapping(there, name, "depends_on")
    }


def _runs_project(service: Service, host: Service) -> bool:
    """Return True if the service is built, has secrets or an env file, or has the web service's image."""
    whole, location = service.whole, mapping(service.whole, "image").get("location")
    is_of_web = location in {None, mapping(host.whole, "image").get("location")}
    return is_of_web or bool(whole.get("secrets") or whole.get("env_file"))


def _given(
    root: Path, service: Service, host: Service, environment: str
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return variables and secrets, and the sentences about them.

    The service's own block counts first, then the web service's block: there stand this environment's Redis,
    database and mail. A name is a variable or a secret, never both, which ECS refuses.
    """
    lent: dict[str, dict[str, Any]] = {}
    if service.block is None:
        content = dict(service.content)
        lent["variables"] = inherited.variables(content, environment)
        lent["secrets"] = inherited.secrets(content, environment, SECRETS)
    found: dict[str, dict[str, Any]] = {key: {} for key in _GIVEN}
    for layer in (service.content, lent, _of_block(service, host), service.block or {}):
        for key, other in (_GIVEN, _GIVEN[::-1]):
            if not isinstance(layer.get(key) or {}, dict):
                raise SettingsError(f"`{key}` of {service.path} is not a mapping: Copilot needs names there.")
            for name, value in mapping(layer, key).items():
                found[other].pop(name, None)
                found[key][name] = value
    foreign = _foreign(root, service, host, environment, found["secrets"])
    found["secrets"].update(foreign)
    made = _of_addons(root, service.name, found)
    found["secrets"].update({name: f"{SECRETS}{name}" for name in made})
    notes = []
    if service.block is None:
        notes.append(
            f"{service.path} has no block `environments.{environment}`, so {service.name} has the values of "
            f"its base{_and_of_blocks(lent)}: write that block where this environment needs others, and do "
            "this again."
        )
    if foreign:
        notes.append(
            f"{', '.join(foreign)} would be secrets of another environment, which a task of {environment} "
            f"may not read. They have paths of {environment} now: give them values (`copilot secret init`)."
        )
    if made:
        notes.append(
            f"The addons of {service.name} are not deployed while it is a sidecar: give {', '.join(made)} a "
            f"value in {environment} (`copilot secret init --name {made[0]}`), or move what they make to "
            f"copilot/{host.name}/addons."
        )
    return found, notes


def _and_of_blocks(lent: Mapping[str, Mapping[str, Any]]) -> str:
    names = [name for key in _GIVEN for name in lent.get(key, ())]
    return f", and of other environments {', '.join(names)}" if names else ""


def _of_block(service: Service, host: Service) -> dict[str, dict[str, Any]]:
    """Return the variables and secrets that the sidecar takes from the web service's block.

    One that does not run the project, somebody else's image, takes only what it has a name for.
    """
    is_project = _runs_project(service, host)
    own = {name for key in _GIVEN for name in mapping(service.whole, key)}
    return {
        key: {
            name: value
            for name, value in mapping(host.block, key).items()
            if name in own or (is_project and not OF_SERVERS.fullmatch(str(name)))
        }
        for key in _GIVEN
    }


def _foreign(
    root: Path, service: Service, host: Service, environment: str, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return values of this environment for the secrets that the service's base has of another one.

    A task may not read those: Copilot's role reads what has the tags of its own environment.
    """
    blocks = (mapping(each.content, "environments") for each in (service, host))
    others = {*workspace_files.environments(root), *(str(name) for block in blocks for name in block)}
    others -= {environment}
    of_web = mapping(host.whole, "secrets")
    return {
        name: of_web[name] if name in of_web and not _names(of_web[name], others) else f"{SECRETS}{name}"
        for name, value in found.items()
        if mapping(service.content, "secrets").get(name) == value
        and name not in mapping(service.block, "secrets")
        and _names(value, others)
    }


def _names(secret: Any, environments: set[str]) -> bool:
    """Return True if a secret's path, name or export has another environment's name, or production's."""
    if isinstance(secret, str):
        parts = secret.split("/")
        return any(part in environments or protection.folded(part) in _PROTECTED for part in parts)
    text = " ".join(map(str, secret.values())) if isinstance(secret, dict) else ""
    return any(re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text) for name in environments)


def _of_addons(root: Path, name: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the variables that Copilot would give the service of its addons, and that it lacks here."""
    names: list[str] = []
    for file in sorted((root / "copilot" / name / "addons").glob("*.y*ml")):
        if manifest.inside(file, root).is_file():
            try:
                names += addons.variables(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{file.relative_to(root)} cannot be read: {error}.") from error
    return [each for each in dict.fromkeys(names) if not any(each in found[key] for key in _GIVEN)]


def _env_file(service: Service, host: Service) -> Any:
    holders: tuple[Mapping[str, Any], ...] = (service.block or {}, host.block or {}, service.content)
    return next((holder["env_file"] for holder in holders if holder.get("env_file")), None)


def _mounts(whole: Mapping[str, Any], of_host: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the mounts of volumes that the task has, and a sentence about those that it has not."""
    volumes, there = mapping(whole, "storage", "volumes"), mapping(of_host, "storage", "volumes")
    mounts = [
        {
            "source_volume": name,
            **{key: volume[key] for key in ("path", "read_only") if volume.get(key) is not None},
        }
        for name, volume in volumes.items()
        if name in there and isinstance(volume, dict)
    ]
    lacking = [str(name) for name in volumes if name not in there]
    if not lacking:
        return mounts, []
    where = f"`storage.volumes` of {of_host.get('name')}"
    return mounts, [f"The task has no volume {', '.join(lacking)}: add it to {where}, then run this again."]


# What a person has to do.


def _steps(
    root: Path, service: Service, host: Service, environment: str, made: Mapping[str, Any]
) -> Iterator[str]:
    name, whole, of_host = service.name, service.whole, host.whole
    if mapping(whole, "subscribe"):
        yield (
            f"{name} reads a queue of SQS (`subscribe`). A sidecar has none, so COPILOT_QUEUE_URI is not "
            f"set: let it work without, or read Redis in {environment}."
        )
    if mapping(whole, "publish") and whole.get("publish") != of_host.get("publish"):
        yield f"{name} publishes to topics: add its `publish` to that of {host.name}."
    there = mapping(of_host, "sidecars")
    if missing := [str(each) for each in mapping(whole, "sidecars") if each not in there]:
        yield f"The sidecars of {name} do not come along ({', '.join(missing)}): add them by --add."
    of_task = whole.get("taskdef_overrides") or "/TaskDefinition/" in patches.text_below(root, name)
    if of_task:
        yield f"The overrides of {name} have no effect here: repeat what it needs in those of {host.name}."
    for who, content, hosts in ((host.name, of_host, [name]), (name, made, workspace_files.services(root))):
        if naming := _naming(content, [each for each in hosts if each != who]):
            yield (
                f"{', '.join(naming)} of {who}: these lead to services of other tasks, and a sidecar is at "
                f"localhost. Write that under `environments.{environment}.variables` of {who}."
            )
    if _platform(whole) != _platform(of_host):
        yield f"The task has the `platform` of {host.name}, and {name} another: build its image for that one."
    sizes = [
        f"{each.get('cpu') or _CPU} and {each.get('memory') or _MEMORY} MiB" for each in (of_host, whole)
    ]
    yield (
        f"The containers of the task share its CPU units and memory in {environment} ({sizes[0]}), and "
        f"{name} has {sizes[1]} as a service: raise them in {host.name} if they do not do for both."
    )


def _platform(whole: Mapping[str, Any]) -> Any:
    given = whole.get("platform") or "linux/amd64"
    return given.replace("x86_64", "amd64") if isinstance(given, str) else given


def _naming(holder: Mapping[str, Any], services: Sequence[str]) -> list[str]:
    """Return the variables whose values name one of the services as a host."""
    if not services:
        return []
    host = re.compile(rf"(?:^|[/@])(?:{'|'.join(map(re.escape, services))})(?:\.|:\d)")
    return [
        str(key)
        for key, value in mapping(holder, "variables").items()
        if isinstance(value, str) and host.search(value)
    ]
