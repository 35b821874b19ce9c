"""Read the parts of a service's manifest that the tasks need; its full interpretation is left to Copilot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from copilot_testenv.core.errors import SettingsError

BOM = "\ufeff"
_MANAGE = re.compile(r"((?:[\w./-]*/)?python[\d.]* [\w./-]*manage\.py) copy_stage_db")
_DEEPEST = 200
_MOST_VALUES = 100_000  # keys included; a manifest has a few hundred
# libyaml accepts a tab before a comment, as Copilot does; PyYAML's own scanner does not.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Written(str):
    """A number, date or switch of a manifest, as it is written there: `0755`, `1.10`, `yes`.

    Copilot reads many such values as texts, so a copy of them must not change a character.
    """

    __slots__ = ()


class AS_WRITTEN(LOADER):  # type: ignore[misc] # noqa: N801 - it is passed where LOADER is
    """A safe loader that reads every number, date and switch as Written."""


for _tag in ("bool", "int", "float", "timestamp"):
    AS_WRITTEN.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda _, node: Written(node.value))


def read(path: Path) -> dict[str, Any]:
    """Return the manifest's content. Raises SettingsError where it cannot be read."""
    try:
        if path.exists() and not path.is_file():  # reading a device might never end
            raise SettingsError(f"The manifest {path} is not a regular file.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The manifest {path} cannot be read: {error}.") from error
    return parse(text, str(path))


def parse(text: str, where: str, loader: Any = LOADER) -> dict[str, Any]:
    """Return the content of a manifest's text. Raises SettingsError; its message names the file `where`."""
    try:
        for _ in events(text):
            pass
        content = yaml.load(text.removeprefix(BOM), Loader=loader)  # noqa: S506 - all are safe
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date; hostile nesting
        why = str(error).replace("\n", " ")
        raise SettingsError(f"The manifest {where} cannot be read: {why}.") from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"The manifest {where} is not a mapping: compare it with copilot/web/manifest.yml."
        )
    return content


def events(text: str) -> Iterator[yaml.Event]:
    """Yield YAML's events, with positions after a byte order mark. Raises YAMLError, RecursionError.

    YAML that is nested too deeply is rejected, because libyaml's composer crashes on it. Aliases that make
    the content huge or recursive are rejected, because code that walks the content would never end.
    """
    size = _Size()
    for event in yaml.parse(text.removeprefix(BOM), Loader=LOADER):
        size.count(event)
        if len(size.around) > _DEEPEST:
            raise RecursionError(f"it is nested more than {_DEEPEST} deep")
        if size.values > _MOST_VALUES:
            raise yaml.YAMLError(
                f"with its aliases (`*name`) written out it has more than {_MOST_VALUES} values: use fewer"
            )
        yield event


class _Size:
    """Count the values so far, keys included, as if every alias were replaced by its content."""

    def __init__(self) -> None:
        self.values = 0
        self.around: list[tuple[str | None, int]] = []  # of open collections: the anchor, the count before
        self.named: dict[str | None, int] = {}

    def count(self, event: yaml.Event) -> None:
        """Count an event. Raises YAMLError where an alias has no anchor, or is inside its own anchor."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in self.around):
                raise yaml.YAMLError(f"`*{event.anchor}` is inside the value that it refers to")
            if event.anchor not in self.named:
                raise yaml.YAMLError(f"`*{event.anchor}` refers to no anchor before it")
            self.values += self.named[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            self.around.append((event.anchor, self.values))
            self.values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.around.pop()
            self.named[anchor] = self.values - before
        elif isinstance(event, yaml.ScalarEvent):
            self.values += 1
            self.named[event.anchor] = 1


@dataclass(frozen=True)
class Build:
    """An image that Copilot builds; its paths are relative to the workspace."""

    dockerfile: str
    context: str
    target: str = ""
    args: tuple[tuple[str, str], ...] = field(default=(), compare=False)  # of ARG


def build(value: Any) -> Build | None:
    """Interpret the value of `image.build`, a path or a mapping; return None where it is neither, or empty.

    Of `dockerfile` and `context`, one gives the default of the other; without both it is `./Dockerfile`.
    Source: internal/pkg/manifest/workload.go of aws/copilot-cli 1.34, ImageLocationOrBuild.BuildConfig.
    """
    given = {"dockerfile": value} if isinstance(value, str) else value
    if not value or not isinstance(given, dict):
        return None
    named = [given.get(name) or "" for name in ("dockerfile", "context", "target")]
    if not all(isinstance(name, str) for name in named):
        return None
    dockerfile, context, target = named
    file = PurePosixPath(dockerfile) if dockerfile else PurePosixPath(context) / "Dockerfile"
    folder = str(PurePosixPath(context)) if context else str(file.parent)
    args = given.get("args")
    pairs = tuple((str(name), str(text)) for name, text in args.items()) if isinstance(args, dict) else ()
    return Build(str(file), folder, target, pairs)


def build_of(manifest: Mapping[str, Any], where: str, environment: str = "") -> Build:
    """Return how the service's image is built, in an environment: its block's keys are put over the base's.

    Raises SettingsError where the manifest builds no image, or one whose path only Windows reads.
    """
    blocks = manifest.get("environments")
    block = blocks.get(environment) if isinstance(blocks, dict) else None
    images = [holder.get("image") for holder in (manifest, block) if isinstance(holder, dict)]
    base, *own = [image.get("build") if isinstance(image, dict) else None for image in images]
    given = over(base, own[0]) if own and own[0] else base
    built = build(given)
    if built is None:
        raise SettingsError(
            f"{where} builds no image (`image.build`): a branch can only be deployed as an image that is "
            "built from it."
        )
    for path in (built.dockerfile, built.context):
        if "\\" in path:
            raise SettingsError(
                f"{where}: `image.build` names {path}, and only Windows reads a backslash as a separator of "
                f"folders: write {PureWindowsPath(path).as_posix()}, which all systems read."
            )
    return built


def over(base: Any, own: Any) -> Any:
    """Return an environment's value over the base's, as Copilot merges them: mappings key by key.

    Source: applyEnv in internal/pkg/manifest of aws/copilot-cli 1.34.
    """
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{key: over(base.get(key), value) for key, value in own.items()}}
    return base if own is None else own


def mapping(holder: Any, *keys: str) -> dict[str, Any]:
    """Return the mapping under these keys; empty where it is missing or not a mapping."""
    for key in keys:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder if isinstance(holder, dict) else {}


def builds(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the Dockerfile and the build context of each image of the manifest's containers, sorted."""
    found = set()
    waiting: list[Any] = [manifest]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict):
            image = holder.get("image")
            if built := build(image.get("build") if isinstance(image, dict) else None):
                found.add((built.dockerfile, built.context))
            waiting += holder.values()
    return sorted(found)


def manage_command(manifest: Mapping[str, Any], environment: str) -> str:
    """Return the command that runs manage.py in the image, as the copy of staging's database is started."""
    blocks = manifest.get("environments")
    block = blocks.get(environment) if isinstance(blocks, dict) else None
    found = _MANAGE.search(str(block))
    return found[1] if found else "python manage.py"


def check_environment(
    manifest: Mapping[str, Any], environment: str, where: str, cure: str = "Write one"
) -> None:
    """Raise SettingsError unless the manifest has a block for the environment.

    Copilot would silently deploy the base manifest, without Redis, without the reset and the copy of the
    database, and without the block's limits.
    """
    blocks = manifest.get("environments")
    if not isinstance(blocks, dict) or not isinstance(blocks.get(environment), dict):
        raise SettingsError(
            f"{where} has no block `{environment}` under `environments:`: Copilot would silently deploy the "
            f"base manifest there. {cure}, or set TEST_ENV to the environment that has it."
        )


def inside(file: Path, folder: Path) -> Path:
    """Return the file. Raises SettingsError where a link leads out of the folder."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise SettingsError(
            f"{file.relative_to(folder)} is a link that leads out of the repository: make it a file."
        )
    return file


def secret_parameters(manifest: Mapping[str, Any], app: str, environment: str) -> list[str]:
    """Return the SSM parameters that the service and its sidecars have as secrets, sorted."""
    block = manifest["environments"].get(environment) or {}
    holders: list[Any] = []
    for source in (manifest, block):
        holders.append(source)
        sidecars = source.get("sidecars")
        holders += sidecars.values() if isinstance(sidecars, dict) else []
    names = {
        value
        for holder in holders
        if isinstance(holder, dict) and isinstance(holder.get("secrets"), dict)
        for value in holder["secrets"].values()
        if isinstance(value, str)
    }
    return sorted(
        name.replace("${COPILOT_APPLICATION_NAME}", app).replace("${COPILOT_ENVIRONMENT_NAME}", environment)
        for name in names
    )
