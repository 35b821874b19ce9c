"""Show a service's containers as Copilot renders them, and edit its sidecars: `invoke sidecar-config`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from difflib import unified_diff
from pathlib import Path

from copilot_testenv import rendering
from copilot_testenv.copilot import manifest, service_sidecar, sidecars, task_definition, yaml_edit
from copilot_testenv.copilot.sidecars import Entry
from copilot_testenv.copilot.task_definition import Container
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import documents, files, workspace_files
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError
from copilot_testenv.core.settings import Settings, protector
from copilot_testenv.core.terminal import as_json
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session, sandbox_runs

_ASKING = "Asking Copilot on the embedded AWS; nothing leaves this machine"


@dataclass(frozen=True)
class Options:
    """The flags of `sidecar-config`; `service` and `environment` are empty where they were not given."""

    service: str = ""
    environment: str = ""
    add: str = ""
    file: str = ""
    remove: str = ""
    from_service: str = ""
    json: bool = False
    diagram: bool = False
    plan: bool = False


@dataclass(frozen=True)
class Edit:
    """A manifest before and after an edit; `kept` are the keys that `--remove` did not remove.

    `steps` are left to a person.
    """

    file: Path
    shown: str
    before: str
    after: str
    kept: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

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


def sidecar_config(session: Session, options: Options) -> None:
    """Show the containers, or edit one environment's sidecars.

    Raises UsageError for flags that exclude each other, SettingsError where a manifest is wrong or Copilot
    refuses it, Refused where an edit is not safe, Failed where Copilot cannot be started.
    """
    if sum(map(bool, (options.add, options.remove, options.from_service))) > 1:
        raise UsageError("Use either --add, --from-service or --remove: one edit at a time.")
    if options.json and options.diagram:
        raise UsageError("Use either --json or --diagram: they are different formats.")
    editing_asked = bool(options.add or options.remove or options.from_service)
    if (options.plan or options.file) and not editing_asked:
        raise UsageError("--plan and --from belong to --add and --remove: name a sidecar with one of them.")
    if options.file and options.from_service:
        raise UsageError("--from belongs to --add and --remove: --from-service reads the service's manifest.")
    if editing_asked and options.diagram:
        raise UsageError("--diagram only shows the containers: use it without an edit.")
    if editing_asked and not options.environment:
        raise UsageError("Name the environment to edit with --env, for example --env test.")
    services = workspace_files.services(session.settings.root)
    service = options.service or session.settings.service
    if service not in services:
        raise SettingsError(
            f"{service!r} is not a service of this workspace ({', '.join(services) or 'none'}): name one of "
            "these with --service."
        )
    file = services[service]
    known = rendering.environments_of(session.settings.root, [manifest.read(file)])
    if options.environment not in ("", *known):
        raise SettingsError(
            f"{options.environment!r} is not an environment of this workspace "
            f"({', '.join(known) or 'none'}): "
            "name one of these with --env."
        )
    if editing_asked:
        _edit(session, options, service, file)
    else:
        _show(session, options, service, file, [options.environment] if options.environment else known)


# Editing.


def _edit(session: Session, options: Options, service: str, file: Path) -> None:
    settings = session.settings
    if word := protector(options.environment, settings):
        raise Refused(
            f"{options.environment} is a protected environment ({word}): edit its manifest by hand."
        )
    entry, steps = _entry(settings, options, service)
    edit = replace(_edited(session, options, entry, file), steps=steps)
    if edit.before != edit.after:
        with (
            session.report.waiting(_ASKING),
            rendering.open_renderer(
                session, [manifest.parse(edit.after, edit.shown)], only=[options.environment]
            ) as renderer,
        ):
            _judge(renderer, session, options, entry, edit, service)
        if not options.plan:
            _write(edit, settings.root)
    if options.json:
        session.report.data(as_json(_document(options, entry, service, edit)))
    else:
        session.report.data(edit.diff)
    _tell(session, options, entry, edit)


def _entry(settings: Settings, options: Options, service: str) -> tuple[Entry, tuple[str, ...]]:
    """Return the sidecar to edit, and the steps that only a person can do. Raises as service_sidecar does."""
    name, environment = options.add or options.remove, options.environment
    if options.from_service == service:
        raise UsageError(f"{service} cannot be its own sidecar: name another service with --from-service.")
    if options.from_service:
        own, host = (
            service_sidecar.read(settings.root, each, environment) for each in (options.from_service, service)
        )
        made = service_sidecar.make(settings.root, own, host, environment)
        return Entry(own.name, "", made.sidecar), made.steps
    of_service = name in workspace_files.services(settings.root) and name not in sidecars.names()
    if options.remove and of_service and not options.file:
        return Entry(name, "", {}), ()
    return sidecars.load(name, Path(options.file) if options.file else None), ()


def _edited(session: Session, options: Options, entry: Entry, file: Path) -> Edit:
    root = session.settings.root
    shown = file.relative_to(root).as_posix()
    before = _text(manifest.inside(file, root))
    if options.remove:
        after, kept = sidecars.remove(before, entry, options.environment, shown)
        return Edit(file, shown, before, after, tuple(yaml_edit.dotted(path) for path in kept))
    if options.from_service:
        return Edit(file, shown, before, service_sidecar.put(before, entry, options.environment, shown))
    project = sidecars.project_of(root) if entry.runs_project else ""
    return Edit(file, shown, before, sidecars.add(before, entry, options.environment, project, shown))


def _text(file: Path) -> str:
    """Return the file's text with its own line breaks. Raises SettingsError."""
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The manifest {file} cannot be read: {error}.") from error


def _judge(
    renderer: Renderer, session: Session, options: Options, entry: Entry, edit: Edit, service: str
) -> None:
    """Let Copilot render the edited manifest, in a copy of the workspace.

    Raises SettingsError where Copilot refuses it, Refused where the rendering is not the wanted one.
    """
    with tempfile.TemporaryDirectory(prefix="sidecar-config-") as name:
        folder = Path(name)
        try:
            shutil.copytree(
                session.settings.root / "copilot", folder / "copilot", ignore_dangling_symlinks=True
            )
            (folder / edit.shown).write_bytes(edit.after.encode())
        except (OSError, shutil.Error) as error:
            raise Failed(
                f"The workspace could not be copied for Copilot to judge the edit: {error}."
            ) from error
        found = renderer.service(folder, service, options.environment)
    if isinstance(found, Refusal):
        raise SettingsError(
            f"Copilot refuses {edit.shown} with this edit, so nothing was changed: {found.why}"
        )
    rendered = {container.name: container for container in task_definition.containers(found)}
    if not options.remove and entry.name not in rendered:
        raise Refused(
            f"Copilot does not render {entry.name} in {edit.shown}, so nothing was changed: only services "
            "that run on ECS have sidecars."
        )
    for container in rendered.values():
        twice = sorted({*container.variables} & {*container.secrets})
        if twice and not options.remove:
            raise Refused(
                f"{twice[0]} would be a variable and a secret of {container.name} in {options.environment}, "
                "which ECS refuses, so nothing was changed: move the secret from the base of the manifest to "
                "the environments that need it, or describe the sidecar with another variable (--from)."
            )


def _write(edit: Edit, root: Path) -> None:
    """Write the manifest; where it is a link within the repository, write the file that it leads to.

    Raises SettingsError where the link leads out of the repository, Refused where the file was changed
    meanwhile, Failed.
    """
    target = manifest.inside(edit.file, root).resolve()
    files.write(target, edit.after, root.resolve(), expected=edit.before)


def _document(options: Options, entry: Entry, service: str, edit: Edit) -> dict[str, object]:
    of_service = {"from_service": entry.name, "steps": list(edit.steps)} if options.from_service else {}
    return {
        "service": service,
        "environment": options.environment,
        "sidecar": entry.name,
        "edit": "remove" if options.remove else "add",
        "path": edit.shown,
        "written": not options.plan and edit.before != edit.after,
        "diff": edit.diff,
        "kept": list(edit.kept),
        **of_service,
    }


def _tell(session: Session, options: Options, entry: Entry, edit: Edit) -> None:
    say = session.report.say
    if edit.kept:
        say(f"Not removed, because the values differ from the catalogue's: {', '.join(edit.kept)}.")
    for step in edit.steps:
        say(f"  {step}")
    if edit.before == edit.after:
        say(f"{entry.name} in {options.environment} is in step with its manifest ({edit.shown}): no change.")
        return
    if options.plan:
        say("Copilot accepts this. Nothing was changed: run it again without --plan.")
        return
    done = "no longer has" if options.remove else "has"
    say(f"{options.environment} {done} {entry.name} ({edit.shown}). Commit it, then deploy the branch.")
    if options.remove:
        return
    if options.from_service and entry.name not in session.settings.services:
        say(
            f"Name {entry.name} in `services` of the committed settings: `check` then says when its manifest "
            f"has changed ({documents.page('services.md')})."
        )
    if entry.note:
        say(entry.note)
    image = entry.sidecar.get("image")
    in_sandbox = session.settings.target == "sandbox"
    if in_sandbox and isinstance(image, str) and not sandbox_runs(image):
        say(f"The sandbox cannot run {image}, and a deploy there would say so: it runs on AWS only.")


# Showing.


def _show(session: Session, options: Options, service: str, file: Path, names: Sequence[str]) -> None:
    if not names:
        raise SettingsError("This workspace has no environment: copilot/environments/ holds none.")
    root = session.settings.root
    with (
        session.report.waiting(_ASKING),
        rendering.open_renderer(session, [manifest.read(file)], only=names) as renderer,
        ThreadPoolExecutor(2) as pool,
    ):
        found = dict(
            zip(names, pool.map(lambda name: renderer.service(root, service, name), names), strict=True)
        )
    refused = {name: each.why for name, each in found.items() if isinstance(each, Refusal)}
    held = {
        name: task_definition.containers(each) for name, each in found.items() if isinstance(each, Template)
    }
    if options.json:
        session.report.data(as_json(_shown(service, held, refused)))
    elif options.diagram:
        session.report.data(task_definition.diagram(held))
    else:
        _tables(session, service, held)
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
        "differences": [asdict(each) for each in task_definition.differences(held)],
    }


def _tables(session: Session, service: str, held: Mapping[str, Sequence[Container]]) -> None:
    for name, each in held.items():
        if not each:
            session.report.say(f"{service} has no containers in {name}.")
            continue
        session.report.table(
            f"{service} in {name}",
            ("container", "starts", "image", "essential", "waits for", "ports", "variables", "secrets"),
            [_row(container) for container in each],
        )
    different = task_definition.differences(held)
    if different:
        session.report.table(
            "What differs",
            ("container", "what", *held),
            [
                (each.container, _WORDS.get(each.what, each.what), *map(_cell, each.environments.values()))
                for each in different
            ],
        )
    elif len(held) > 1:
        session.report.say("The containers are the same in every environment.")
    session.report.say(f"Copilot gives every container its {task_definition.COPILOTS}… variables as well.")


_WORDS = {"depends_on": "waits for", "container": "is there"}


def _row(container: Container) -> tuple[str, ...]:
    own = [name for name in container.variables if not name.startswith(task_definition.COPILOTS)]
    return (
        container.name,
        str(container.starts),
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
