"""The service's manifest: a block for the test environment, put into the text without touching another line.

All that is added stands under `environments.<test>`: no other environment is deployed differently.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from scripts.adoption import django_settings
from scripts.adoption.changes import Change, Left
from scripts.adoption.project import Project
from scripts.errors import SettingsError

REDIS_IMAGE = "public.ecr.aws/docker/library/redis:7.4.1-alpine"
STATIC = "/app/staticfiles"
_SECRET = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/"  # noqa: S105 - a path
_COPY = "python manage.py copy_stage_db"
_WHY = {
    "rolling: recreate": "the old task ends before the new one replaces the database",
    "grace_period: 3600s": "outlasts the copy of staging's database",
    "startup: success": "the service starts when the copy and the migrations are through",
    "essential: false": "it ends when it is done, and the task goes on",
    "spot: 1": "one task on Spot",
}


class _Dumper(yaml.SafeDumper):
    """Writes each mapping out: an anchor would be a riddle to whoever edits it."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's
        super().increase_indent(flow, indentless=False)


def plan(project: Project, *, static: bool) -> Change | Left | None:
    """The manifest with its block for the test environment; `static`: collect static files at the start.

    None where the block is there already.
    """
    if project.test_block is not None:
        if "copy_stage_db" in str(project.test_block):
            return None
        return Left(
            project.manifest_path,
            f"it has a block `environments.{project.test_env}` of its own. Add to it what it lacks of:\n"
            + _indented(_dumped(block(project, static=static)), "    "),
        )
    text = project.manifest_text
    added = _inserted(text, project.test_env, _dumped(block(project, static=static)))
    if added is None:
        return Left(
            project.manifest_path,
            "its `environments:` is written in a way that cannot be added to. Add by hand:\n"
            + _indented(_dumped({project.test_env: block(project, static=static)}), "    "),
        )
    return Change(project.manifest_path, text.encode(), added.encode())


def block(project: Project, *, static: bool) -> dict[str, Any]:
    """What `environments.<test>` must say. Raises SettingsError where a section is no mapping."""
    base = project.manifest
    image, sidecars = _section(base, "image"), _section(base, "sidecars")
    depends_on = dict(_section(image, "depends_on"))
    startup = _startup(depends_on, sidecars)
    variables, secrets = _variables(project), _secrets(project)
    redis = wants_redis(project)

    entry: dict[str, Any] = {}
    if startup in sidecars:
        entry["command"] = _with_copy(_section(sidecars, startup).get("command"), project)
    else:
        entry |= {"essential": False, "image": {"build": image["build"]}}
        steps = [_COPY, "python manage.py migrate --noinput"]
        if static:
            steps.append("python manage.py collectstatic --noinput")
            entry["mount_points"] = [{"source_volume": "static", "path": STATIC, "read_only": False}]
        entry["command"] = ["sh", "-c", " && ".join(steps)]
        if "env_file" in base:
            entry["env_file"] = base["env_file"]
    # A sidecar inherits nothing: what the project needs is repeated.
    inherited = {} if startup in sidecars else base
    for key, more in (("variables", variables), ("secrets", secrets)):
        if all_of_it := {**_section(inherited, key), **more}:
            entry[key] = all_of_it

    found: dict[str, Any] = {"count": {"spot": 1}, "deployment": {"rolling": "recreate"}}
    if base.get("http") is not False:
        found["http"] = {"deregistration_delay": "5s", "healthcheck": _healthcheck(base)}
    found["image"] = {
        "depends_on": {**depends_on, **({"redis": "start"} if redis else {}), startup: "success"}
    }
    if static:
        found["storage"] = {"volumes": {"static": {"path": STATIC, "read_only": True}}}
    if variables:
        found["variables"] = variables
    found["secrets"] = secrets
    found["sidecars"] = {
        **({"redis": {"image": REDIS_IMAGE, "port": 6379, "essential": True}} if redis else {}),
        startup: entry,
    }
    return found


def wants_redis(project: Project) -> bool:
    """Whether anything that the project installs, sets or is given names Redis."""
    return bool(
        re.search(r"redis", f"{project.required}\n{project.all_settings}\n{project.manifest}", re.IGNORECASE)
    )


def _startup(depends_on: Mapping[str, Any], sidecars: Mapping[str, Any]) -> str:
    """The sidecar that the service waits for, or the name of the one that is made."""
    waited_for = [
        name
        for name, condition in depends_on.items()
        if str(condition).lower() in {"success", "complete"} and name in sidecars
    ]
    return waited_for[0] if waited_for else "startup"


def _with_copy(command: Any, project: Project) -> list[str]:
    """The startup command, the copy put before it. Raises SettingsError where it is no shell's command."""
    if isinstance(command, str) and command.strip():
        return ["sh", "-c", f"{_COPY} && {command}"]
    match command:
        case [("sh" | "bash" | "/bin/sh" | "/bin/bash") as shell, "-c", str(script)]:
            return [shell, "-c", f"{_COPY} && {script}"]
        case [str(), *_] if all(isinstance(word, str) for word in command):
            return ["sh", "-c", f"{_COPY} && {shlex.join(command)}"]
    raise SettingsError(
        f"{project.root / project.manifest_path}: the startup sidecar has no command that the copy could be "
        "put before: give it one, such as ['sh', '-c', 'python manage.py migrate --noinput']."
    )


def _healthcheck(base: Mapping[str, Any]) -> dict[str, Any]:
    """The project's own check with a longer grace period, or one that scripts/healthz.py answers."""
    http = _section(base, "http")
    own = http.get("healthcheck")
    if isinstance(own, str):
        own = {"path": own}
    if not isinstance(own, dict) or not own:
        own = {"path": "/healthz", "success_codes": "200", "interval": "10s", "timeout": "5s"}
    return {**own, "grace_period": "3600s"}


def _variables(project: Project) -> dict[str, Any]:
    given = _names(project.manifest)
    found: dict[str, Any] = {}
    if wants_redis(project):
        wanted = {"REDIS_HOST": "localhost", "REDIS_URL": "redis://localhost:6379/0"}
        text = f"{project.all_settings}\n{project.manifest}"
        named = {name: value for name, value in wanted.items() if re.search(rf"\b{name}\b", text)}
        found |= named or wanted
    hard = django_settings.hard_wired(project)
    for name, value in (("DEBUG", "0"), ("ALLOWED_HOSTS", "*")):
        if name in hard and name not in given:
            found[name] = value
    return found


def _secrets(project: Project) -> dict[str, Any]:
    given = _names(project.manifest)
    wanted = ["DATABASE_URL", "STAGE_DATABASE_URL"]
    if "SECRET_KEY" in django_settings.hard_wired(project):
        wanted.insert(1, "SECRET_KEY")
    return {name: f"{_SECRET}{name}" for name in wanted if name not in given}


def _names(base: Mapping[str, Any]) -> set[str]:
    """The variables that every environment is given."""
    return {*_section(base, "variables"), *_section(base, "secrets")}


def _section(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = holder.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"The manifest's `{key}` is no mapping: Copilot would refuse it too.")
    return found


def _dumped(content: Mapping[str, Any]) -> str:
    text = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10_000
    )
    lines = []
    for line in text.splitlines():
        why = _WHY.get(line.strip())
        lines.append(f"{line.ljust(30)}  # {why}" if why else line)
    return "\n".join(lines) + "\n"


def _indented(text: str, by: str) -> str:
    return "".join(f"{by}{line}\n" for line in text.splitlines())


def _inserted(text: str, environment: str, content: str) -> str | None:
    """The text with the block as the last of `environments:`; None where that is not written as a block.

    Whatever is found or not, what is returned reads as it did, and with the block.
    """
    before = yaml.safe_load(text)
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    place, indent, heading = len(lines), "  ", True
    root = yaml.compose(text)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "environments":
            heading = False
            place = key.end_mark.line + 1
            if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
                indent = " " * value.value[0][0].start_mark.column
                place = _last_line(value) + 1
    added = f"{indent}{environment}:\n" + _indented(content, indent + "  ")
    if heading:
        added = f"\nenvironments:\n{added}"
    result = "".join([*lines[:place], added.replace("\n", end), *lines[place:]])
    wanted = {
        **before,
        "environments": {**(before.get("environments") or {}), environment: yaml.safe_load(content)},
    }
    try:
        return result if yaml.safe_load(result) == wanted else None
    except yaml.YAMLError:
        return None


def _last_line(node: yaml.Node) -> int:
    """The last line that holds something of this node: a block ends behind the comments after it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1])
    mark = node.end_mark
    ends_before = mark.column == 0 and mark.line > node.start_mark.line  # a block scalar
    return int(mark.line - 1 if ends_before else mark.line)
