"""Add a sidecar to a service in one environment, with everything that it needs there, and remove it.

An entry of the catalogue is a YAML file, `catalogue/NAME.yml` or the user's own (docs/sidecars.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copilot_testenv.copilot import manifest, yaml_edit
from copilot_testenv.copilot.manifest import mapping, over
from copilot_testenv.copilot.yaml_edit import ANYTHING, Patch
from copilot_testenv.core import documents, settings_module
from copilot_testenv.core.errors import Refused, SettingsError, UsageError

_CATALOGUE = Path(__file__).with_name("catalogue")
_READY = ("start", "healthy", "complete", "success")  # Copilot's conditions of `depends_on`
_KEYS = {"about", "sidecar", "ready", "variables", "runs_project", "note"}
# Source: the name of a ContainerDefinition in the API reference of Amazon ECS.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PROJECT = "{project}"  # in a command: the package of the project's settings
_OF_MAIN = ("variables", "secrets", "env_file")


@dataclass(frozen=True)
class Entry:
    """A sidecar of the catalogue.

    `ready` is the condition that other containers wait for, empty where none waits. `variables` are for the
    containers that run the project. `runs_project`: the sidecar is such a container itself, and takes the
    main container's image, variables and secrets.
    """

    name: str
    about: str
    sidecar: Mapping[str, Any]
    ready: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    runs_project: bool = False
    note: str = ""


def names() -> list[str]:
    return sorted(file.stem for file in _CATALOGUE.glob("*.yml"))


def load(name: str, file: Path | None) -> Entry:
    """Return an entry of the catalogue, or the entry in `file`. Raises UsageError, SettingsError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a sidecar's name: use letters, digits, dashes and underscores.")
    if not file:
        if name not in names():
            raise UsageError(
                f"The catalogue has no sidecar {name!r} (it has {', '.join(names())}): use one of these, or "
                "describe your own in a YAML file and name the file with --from "
                f"({documents.page('sidecars.md')})."
            )
        file = _CATALOGUE / f"{name}.yml"
    return _entry(name, manifest.read(file), str(file))


def _entry(name: str, found: Mapping[str, Any], where: str) -> Entry:
    def wrong(why: str) -> SettingsError:
        return SettingsError(f"{where} does not describe a sidecar: {why} ({documents.page('sidecars.md')}).")

    if unknown := [str(key) for key in found if key not in _KEYS]:
        raise wrong(f"`{unknown[0]}` is an unknown key; the keys are {', '.join(sorted(_KEYS))}")
    sidecar, ready, runs_project = (
        found.get("sidecar"),
        found.get("ready", ""),
        found.get("runs_project", False),
    )
    variables = found.get("variables", {})
    if not isinstance(sidecar, dict) or not all(isinstance(key, str) for key in sidecar):
        raise wrong("`sidecar` must be a mapping, as Copilot has it under `sidecars`")
    if not isinstance(runs_project, bool):
        raise wrong("`runs_project` must be true or false")
    if ("image" in sidecar) == runs_project:
        raise wrong("it needs `sidecar.image`, or `runs_project: true` for the project's own image")
    if ready not in ("", *_READY):
        raise wrong(f"`ready` must be one of {', '.join(_READY)}, or missing where no container waits for it")
    if not isinstance(variables, dict) or not all(
        isinstance(text, str) for pair in variables.items() for text in pair
    ):
        raise wrong("`variables` must be a mapping of texts to texts: write numbers in quotes")
    about, note = found.get("about", ""), found.get("note", "")
    if not isinstance(about, str) or not isinstance(note, str):
        raise wrong("`about` and `note` must be texts")
    return Entry(name, about, sidecar, ready, variables, runs_project, " ".join(note.split()))


def add(text: str, entry: Entry, environment: str, project: str, where: str) -> str:
    """Return the manifest's text with the sidecar added in one environment.

    `project` is the package of the project's settings, for an entry that uses it. Raises SettingsError, and
    Refused where `remove` would not restore exactly the same text.
    """
    found = manifest.parse(text, where)
    manifest.check_environment(found, environment, where)
    check_free(found, environment, entry, where)
    after = yaml_edit.add(text, _under(environment, _needs(found, environment, entry, project)), where)
    try:
        back, kept = remove(after, entry, environment, where)
    except Refused:
        back, kept = "", []
    if kept or back != text:
        raise Refused(
            f"{entry.name} was not added to {where}, because it could not be removed again without a trace: "
            "add it by hand."
        )
    return after


def remove(text: str, entry: Entry, environment: str, where: str) -> tuple[str, list[yaml_edit.Path]]:
    """Return the manifest's text without the sidecar in one environment, and the keys that were not removed.

    A value in another container stays where it differs from the entry's. Raises SettingsError, Refused.
    """
    found = manifest.parse(text, where)
    manifest.check_environment(found, environment, where)
    block = found["environments"][environment]
    if not isinstance(block.get("sidecars"), dict) or entry.name not in block["sidecars"]:
        raise Refused(f"{where} has no sidecar {entry.name} under environments.{environment}.sidecars.")
    if entry.name in mapping(found, "sidecars"):
        raise Refused(
            f"{entry.name} is a sidecar of every environment (`sidecars.{entry.name}` in {where}), so it "
            "cannot be removed from one: edit the base by hand."
        )
    patch = _for_others(found, environment, entry)
    patch.setdefault("sidecars", {})[entry.name] = ANYTHING
    # Remove every `depends_on` of it, with any condition: Copilot refuses one of a missing container.
    for name in ("", *block["sidecars"]):
        if name == entry.name:
            continue
        holder = mapping(block, "image") if not name else mapping(block, "sidecars", name)
        if entry.name in mapping(holder, "depends_on"):
            within = patch if not name else patch["sidecars"].setdefault(name, {})
            within = within.setdefault("image", {}) if not name else within
            within.setdefault("depends_on", {})[entry.name] = ANYTHING
    return yaml_edit.remove(text, _under(environment, patch), where, keep=yaml_edit.ROOM)


def running_project(base: Mapping[str, Any], block: Mapping[str, Any]) -> Iterator[str]:
    """Yield the sidecars that run the project: they have secrets, or are built, in the base or the block.

    Raises SettingsError where the sidecars are not a mapping.
    """
    of_base, of_block = base.get("sidecars") or {}, block.get("sidecars") or {}
    if not isinstance(of_base, dict) or not isinstance(of_block, dict):
        raise SettingsError("The manifest's `sidecars` is not a mapping: Copilot needs a name for each.")
    for name in dict.fromkeys((*of_base, *of_block)):
        entries = [entry for entry in (of_base.get(name), of_block.get(name)) if isinstance(entry, dict)]
        if any(
            "secrets" in entry
            or "env_file" in entry
            or (isinstance(entry.get("image"), dict) and "build" in entry["image"])
            for entry in entries
        ):
            yield name


def project_of(root: Path) -> str:
    """Return the package of the project's settings, as manage.py names it. Raises SettingsError.

    manage.py lies beside copilot/, else in another folder of the repository, if only one names a package.
    """
    top = next((each for each in (root, *root.parents) if (each / ".git").exists()), root)
    packages = _packages([root / "manage.py"]) or _packages(
        [*root.glob("*/manage.py"), *top.glob("*/manage.py")]
    )
    package = packages.pop() if len(packages) == 1 else ""
    if not package:
        raise SettingsError(
            "manage.py sets no DJANGO_SETTINGS_MODULE, so the project's package is unknown: describe the "
            f"sidecar with its whole command in your own file (--from, {documents.page('sidecars.md')})."
        )
    return package


def _packages(files: Sequence[Path]) -> set[str]:
    """Return the packages of settings that these manage.py name."""
    found = set()
    for file in files:
        with suppress(OSError, UnicodeDecodeError):
            found.add(settings_module.of_manage(file.read_text(encoding="utf-8")).split(".")[0])
    return found - {""}


def _under(environment: str, patch: Patch) -> Patch:
    return {"environments": {environment: patch}}


def check_free(found: Mapping[str, Any], environment: str, entry: Entry, where: str) -> None:
    """Raise Refused where the sidecar's name or port is taken."""
    block = found["environments"][environment]
    for holder, path in ((found, "sidecars"), (block, f"environments.{environment}.sidecars")):
        if entry.name in mapping(holder, "sidecars"):
            raise Refused(f"{where} already has a sidecar {entry.name}, under {path}.")
    if found.get("name") == entry.name:
        raise Refused(f"{entry.name} is the name of the service and its main container: use another name.")
    wanted = _port(entry.sidecar.get("port"))
    for name, port in _ports(found, block):
        if wanted and port == wanted:
            raise Refused(
                f"{name} already listens on port {port} in {environment}, and the containers of a task share "
                f"their ports: remove {name} first, or give one of them another port."
            )


def _ports(found: Mapping[str, Any], block: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    image = over(mapping(found, "image"), mapping(block, "image"))
    yield str(found.get("name")), _port(image.get("port"))
    sidecars = over(mapping(found, "sidecars"), mapping(block, "sidecars"))
    for name, sidecar in sidecars.items():
        if isinstance(sidecar, dict):
            yield str(name), _port(sidecar.get("port"))


def _port(written: object) -> str:
    """Return the port of `6379` or `6379/udp`, without the protocol."""
    return str(written or "").partition("/")[0]


def _needs(found: Mapping[str, Any], environment: str, entry: Entry, project: str) -> dict[str, Any]:
    """Return everything that an environment's block gets with the sidecar."""
    patch = _for_others(found, environment, entry)
    patch.setdefault("sidecars", {})[entry.name] = _sidecar(found, environment, entry, project)
    return patch


def _for_others(found: Mapping[str, Any], environment: str, entry: Entry) -> dict[str, Any]:
    """Return the patch for the containers that run the project: `depends_on` and variables."""
    block = found["environments"][environment]
    variables: dict[str, Any] = {"variables": dict(entry.variables)} if entry.variables else {}
    waits: dict[str, Any] = {"depends_on": {entry.name: entry.ready}} if entry.ready else {}
    patch: dict[str, Any] = {**({"image": waits} if waits else {}), **variables}
    users = [name for name in running_project(found, block) if name != entry.name]
    if users and (waits or variables):
        patch["sidecars"] = {name: {**waits, **variables} for name in users}
    return patch


def _sidecar(found: Mapping[str, Any], environment: str, entry: Entry, project: str) -> dict[str, Any]:
    """Return the sidecar for the manifest.

    One that runs the project gets a copy of the main container's keys.
    """
    if not entry.runs_project:
        return dict(entry.sidecar)
    block = found["environments"][environment]
    image = over(mapping(found, "image"), mapping(block, "image"))
    built = {"location": image["location"]} if "location" in mapping(block, "image") else {}
    built = built or {key: image[key] for key in ("build", "location") if key in image}
    if not built:
        raise Refused(
            f"The main container has no `image.build` and no `image.location` for {entry.name} to run."
        )
    made: dict[str, Any] = {"image": built, **entry.sidecar}
    match entry.sidecar.get("command"):
        case str(command):
            made["command"] = command.replace(_PROJECT, project)
        case [*words]:
            made["command"] = [str(word).replace(_PROJECT, project) for word in words]
    of_main = {"depends_on": image.get("depends_on")}
    of_main |= {key: over(found.get(key), block.get(key)) for key in _OF_MAIN}
    return made | {key: over(value, made.get(key)) for key, value in of_main.items() if value}
