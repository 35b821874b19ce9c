"""`invoke sidecar-config`: the containers of a service as Copilot renders them, and edits of its sidecars."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from difflib import unified_diff
from pathlib import Path

from scripts import containers, editing, environment, manifest, rendering, sidecars, writing
from scripts.containers import Container
from scripts.environment import Bench
from scripts.errors import Failed, Refused, SettingsError, UsageError
from scripts.rendering import Refusal, Renderer, Template
from scripts.report import as_json
from scripts.settings import protector
from scripts.sidecars import Entry

_ASKING = "Asking Copilot on the embedded AWS; nothing leaves this machine"


@dataclass(frozen=True)
class Asked:
    """The task's flags; `service` and `environment` are empty where they were not given."""

    service: str = ""
    environment: str = ""
    add: str = ""
    file: str = ""
    remove: str = ""
    json: bool = False
    diagram: bool = False
    plan: bool = False


@dataclass(frozen=True)
class Edit:
    """A manifest before and after; `kept` are the keys that `--remove` left."""

    file: Path
    shown: str
    before: str
    after: str
    kept: tuple[str, ...] = ()

    @property
    def diff(self) -> str:
        lines = unified_diff(
            self.before.splitlines(),
            self.after.splitlines(),
            f"a/{self.shown}",
            f"b/{self.shown}",
            lineterm="",
        )
        return "\n".join(lines)


def sidecar_config(bench: Bench, asked: Asked) -> None:
    """Show the containers, or edit one environment's sidecars.

    Raises UsageError on flags that do not go together, SettingsError where a manifest is wrong or Copilot
    refuses it, Refused where an edit cannot be made safely, Failed where Copilot cannot be asked.
    """
    if asked.add and asked.remove:
        raise UsageError("Say --add or --remove: one edit at a time.")
    if asked.json and asked.diagram:
        raise UsageError("Say --json or --diagram: each is a form of its own.")
    editing_asked = bool(asked.add or asked.remove)
    if (asked.plan or asked.file) and not editing_asked:
        raise UsageError("--plan and --from belong to --add and --remove: name a sidecar with one of them.")
    if editing_asked and asked.diagram:
        raise UsageError("--diagram shows what is there: say it without --add and --remove.")
    if editing_asked and not asked.environment:
        raise UsageError("Say with --env which environment's sidecars to edit: --env test.")
    services = rendering.services_of(bench.settings.root)
    service = asked.service or bench.settings.service
    if service not in services:
        raise SettingsError(
            f"{service!r} is not a service of this workspace ({', '.join(services) or 'none'}): name one of "
            "these with --service."
        )
    file = services[service]
    known = rendering.environments_of(bench.settings.root, [manifest.read(file)])
    if asked.environment not in ("", *known):
        raise SettingsError(
            f"{asked.environment!r} is not an environment of this workspace ({', '.join(known) or 'none'}): "
            "name one of these with --env."
        )
    if editing_asked:
        _edit(bench, asked, service, file)
    else:
        _show(bench, asked, service, file, [asked.environment] if asked.environment else known)


# Editing.


def _edit(bench: Bench, asked: Asked, service: str, file: Path) -> None:
    settings = bench.settings
    if word := protector(asked.environment, settings):
        raise Refused(
            f"{asked.environment} is a protected environment ({word}): its manifest is for people to edit."
        )
    entry = sidecars.load(asked.add or asked.remove, Path(asked.file) if asked.file else None)
    edit = _edited(bench, asked, entry, file)
    with (
        bench.report.waiting(_ASKING),
        rendering.open_renderer(bench, [manifest.parse(edit.after, edit.shown)]) as renderer,
    ):
        _judge(renderer, bench, asked, entry, edit, service)
    if not asked.plan:
        _write(edit, bench.settings.root)
    if asked.json:
        bench.report.data(as_json(_document(asked, entry, service, edit)))
    else:
        bench.report.data(edit.diff)
    _tell(bench, asked, entry, edit)


def _edited(bench: Bench, asked: Asked, entry: Entry, file: Path) -> Edit:
    root = bench.settings.root
    shown = file.relative_to(root).as_posix()
    before = _text(manifest.inside(file, root))
    if asked.remove:
        after, kept = sidecars.remove(before, entry, asked.environment, shown)
        return Edit(file, shown, before, after, tuple(editing.dotted(path) for path in kept))
    project = sidecars.project_of(root) if entry.runs_project else ""
    return Edit(file, shown, before, sidecars.add(before, entry, asked.environment, project, shown))


def _text(file: Path) -> str:
    """The file's text, its line breaks as they are. Raises SettingsError."""
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The manifest {file} cannot be read: {error}.") from error


def _judge(renderer: Renderer, bench: Bench, asked: Asked, entry: Entry, edit: Edit, service: str) -> None:
    """Let Copilot render the edited manifest, in a copy of the workspace.

    Raises SettingsError where it refuses, Refused where what it renders is not what was asked for.
    """
    with tempfile.TemporaryDirectory(prefix="sidecar-config-") as name:
        folder = Path(name)
        try:
            shutil.copytree(
                bench.settings.root / "copilot", folder / "copilot", ignore_dangling_symlinks=True
            )
            (folder / edit.shown).write_bytes(edit.after.encode())
        except (OSError, shutil.Error) as error:
            raise Failed(
                f"The workspace could not be copied for Copilot to judge the edit: {error}."
            ) from error
        found = renderer.service(folder, service, asked.environment)
    if isinstance(found, Refusal):
        raise SettingsError(
            f"Copilot refuses {edit.shown} with this edit, so nothing was changed: {found.why}"
        )
    rendered = {container.name: container for container in containers.containers(found)}
    if asked.add and entry.name not in rendered:
        raise Refused(
            f"Copilot does not render {entry.name} in {edit.shown}, so nothing was changed: only services "
            "that run on ECS have sidecars."
        )
    for container in rendered.values():
        twice = sorted({*container.variables} & {*container.secrets})
        if twice and asked.add:
            raise Refused(
                f"{twice[0]} would be a variable and a secret of {container.name} in {asked.environment}, "
                "which ECS refuses, so nothing was changed: move the secret from the base of the manifest to "
                "the environments that need it, or describe the sidecar with another variable (--from)."
            )


def _write(edit: Edit, root: Path) -> None:
    """Write the manifest, what a link within the repository leads to too.

    Raises SettingsError where it leads out by now, Refused where it was changed meanwhile, Failed.
    """
    target = manifest.inside(edit.file, root).resolve()
    writing.write(target, edit.after, root.resolve(), expected=edit.before)


def _document(asked: Asked, entry: Entry, service: str, edit: Edit) -> dict[str, object]:
    return {
        "service": service,
        "environment": asked.environment,
        "sidecar": entry.name,
        "edit": "add" if asked.add else "remove",
        "path": edit.shown,
        "written": not asked.plan,
        "diff": edit.diff,
        "kept": list(edit.kept),
    }


def _tell(bench: Bench, asked: Asked, entry: Entry, edit: Edit) -> None:
    say = bench.report.say
    if edit.kept:
        say(f"Left as they stand, because they are not what the catalogue says: {', '.join(edit.kept)}.")
    if asked.plan:
        say("Copilot accepts this. Nothing was changed: say it without --plan.")
        return
    done = "has" if asked.add else "no longer has"
    say(f"{asked.environment} {done} {entry.name} ({edit.shown}). Commit it, then deploy the branch.")
    if not asked.add:
        return
    if entry.note:
        say(entry.note)
    image = entry.sidecar.get("image")
    here = bench.settings.target == "sandbox"
    if here and isinstance(image, str) and not environment.sandbox_runs(image):
        say(f"The sandbox cannot run {image}, and a deploy there would say so: it runs on AWS only.")


# Showing.


def _show(bench: Bench, asked: Asked, service: str, file: Path, names: Sequence[str]) -> None:
    if not names:
        raise SettingsError("This workspace has no environment: copilot/environments/ holds none.")
    root = bench.settings.root
    with (
        bench.report.waiting(_ASKING),
        rendering.open_renderer(bench, [manifest.read(file)]) as renderer,
        ThreadPoolExecutor(2) as pool,
    ):
        found = dict(
            zip(names, pool.map(lambda name: renderer.service(root, service, name), names), strict=True)
        )
    refused = {name: each.why for name, each in found.items() if isinstance(each, Refusal)}
    held = {name: containers.containers(each) for name, each in found.items() if isinstance(each, Template)}
    if asked.json:
        bench.report.data(as_json(_shown(service, held, refused)))
    elif asked.diagram:
        bench.report.data(containers.diagram(held))
    else:
        _tables(bench, service, held)
    if refused:
        raise SettingsError(
            " ".join(f"Copilot refuses {service} in {name}: {why}." for name, why in refused.items())
        )


def _shown(
    service: str, held: Mapping[str, Sequence[Container]], refused: Mapping[str, str]
) -> dict[str, object]:
    return {
        "service": service,
        "environments": {
            name: {"containers": [container.as_document() for container in each]}
            for name, each in held.items()
        },
        "refused": dict(refused),
        "differences": [asdict(each) for each in containers.differences(held)],
    }


def _tables(bench: Bench, service: str, held: Mapping[str, Sequence[Container]]) -> None:
    for name, each in held.items():
        if not each:
            bench.report.say(f"{service} has no containers in {name}.")
            continue
        bench.report.table(
            f"{service} in {name}",
            ("starts", "container", "image", "essential", "waits for", "ports", "variables", "secrets"),
            [_row(container) for container in each],
        )
    different = containers.differences(held)
    if different:
        bench.report.table(
            "What differs",
            ("container", "what", *held),
            [
                (each.container, _WORDS.get(each.what, each.what), *map(_cell, each.environments.values()))
                for each in different
            ],
        )
    elif len(held) > 1:
        bench.report.say("The containers are the same in every environment.")
    bench.report.say(f"Copilot gives every container its {containers.COPILOTS}… variables as well.")


_WORDS = {"depends_on": "waits for", "container": "is there"}


def _row(container: Container) -> tuple[str, ...]:
    own = [name for name in container.variables if not name.startswith(containers.COPILOTS)]
    return (
        str(container.starts),
        container.name,
        container.image or "built at deploy",
        _cell(container.essential),
        _cell(container.depends_on),
        _cell(container.ports),
        _cell(own),
        _cell(container.secrets),
    )


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name}: {condition}" for name, condition in value.items())
        case list() | tuple():
            return ", ".join(str(each) for each in value)
        case _:
            return str(value)
