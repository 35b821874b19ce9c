"""Add the test environment's block to the service's manifest without changing any other line.

Everything that is added is under `environments.<test>`, so other environments are deployed as before.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from copilot_testenv.adopt import django_settings, images, media, stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.project import Project
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.branch_guard import branch_files, branch_manifests
from copilot_testenv.copilot import addons, aliases, inherited, sidecars, yaml_edit
from copilot_testenv.core import documents
from copilot_testenv.core.errors import Refused, SettingsError

HEALTH_PATH = "/healthz"  # django_testenv.access.healthz answers it
STATIC = "/app/staticfiles"
_SECRET = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/"  # noqa: S105 - a path
_REDIS_OFF = re.compile(r"""["']REDIS_(?:HOST|URL)["'],\s*(?:default\s*=\s*)?(?:""|''|None)\s*\)""")
_WHY = {
    "rolling: recreate": "the old task ends before the new one replaces the database",
    "grace_period: 3600s": "outlasts the copy of staging's database",
    "startup: success": "the service starts when the copy and the migrations are through",
    "essential: false": "it ends when it is done, and the task goes on",
    "spot: 1": "one task on Spot",
    "allowed_source_ips: [127.0.0.0/8]": "the sandbox; add your office's or VPN's addresses "
    f"({documents.command('access.md')})",
}


def plan(renewal: Renewal, *, static: bool) -> Change | NotChanged | None:
    """Plan to add or renew the test environment's block; with `static` the task collects static files."""
    project = renewal.project
    path, text = project.manifest_path, project.manifest_text
    plain = text.replace("\r\n", "\n")
    stamped = stamps.find(plain)
    if stamped:
        return renewal.plan_block(path, text, _body(project, static=static, indent=stamped.indent))
    if project.test_block is not None:
        if "copy_stage_db" not in str(project.test_block):
            return NotChanged(
                path,
                f"it has a block `environments.{project.test_env}` of its own. Add what is missing there:\n"
                + _shown(block(project, static=static, own=project.test_block)),
            )
        place = _place(plain, project.test_env)
        indent = plain[place[0] :].partition(project.test_env)[0] if place else ""
        body = _body(project, static=static, indent=indent)
        return renewal.plan_legacy(path, text, body, lambda text: _place(text, project.test_env))
    return _added(project, static=static)


def host_names(project: Project, certificate: str) -> Iterator[NotChanged]:
    """Yield each host name of the base, which the test environment would take from its owner.

    `certificate`: where the test environment imports one; Copilot then deploys no service without an alias.
    """
    path, text, name = project.manifest_path, project.manifest_text, project.test_env
    found = list(aliases.of(project.manifest, name))
    for alias in found:
        if alias.inherited:
            yield NotChanged(
                f"{path}:{aliases.line(text, alias.keys)}",
                f"{name} would have the host name {alias.name} of the base, and no deploy accepts that: "
                f"{aliases.instead(alias, name, is_needed=bool(certificate))}.",
            )
    if certificate and not found and project.has_listener:
        yield NotChanged(
            path,
            f"{name} imports a certificate ({certificate}), and Copilot deploys no service without a host "
            f"name there: write `environments.{name}.http.alias` with a name that the certificate covers.",
        )


def variables_of_the_deployer(project: Project) -> Iterator[NotChanged]:
    """Yield each variable that no deploy fills in, because its value would be that of who deploys."""
    path = project.manifest_path
    found = branch_manifests.read(project.root / path)
    for wrong in branch_files.variables_of_the_deployer(path, found):
        yield NotChanged(
            f"{path}:{wrong.line}", f"{wrong.what}, and no deploy accepts that: {wrong.instead}."
        )


def mappings(project: Project) -> Iterator[NotChanged]:
    """Yield each mapping of the addons that lacks the test environment's row, which its stack needs."""
    for folder in (f"copilot/{project.service}/addons", "copilot/environments/addons"):
        for name in project.listed(folder):
            path = f"{folder}/{name}"
            text = (project.text(path) or "") if name.endswith((".yml", ".yaml")) else ""
            for line, what, instead in addons.missing_rows(text, project.test_env):
                yield NotChanged(f"{path}:{line}", f"{what}: {instead}.")


def _added(project: Project, *, static: bool) -> Change | NotChanged:
    """Plan the manifest with a new block. Raises Refused where the added lines cannot be found again."""
    path, text = project.manifest_path, project.manifest_text
    wanted = {"environments": {project.test_env: block(project, static=static)}}
    try:
        added = (
            yaml_edit.add(text, wanted, path)
            if "environments" in project.manifest
            else _appended(text, wanted)
        )
    except (Refused, yaml.YAMLError):
        return NotChanged(
            path,
            "its `environments:` is empty, or has a form to which nothing can be added. Write there:\n"
            + _shown(wanted),
        )
    plain = added.replace("\r\n", "\n")
    place = _place(plain, project.test_env)
    if place is None:
        raise Refused(
            f"{path} is not changed: the lines of `environments.{project.test_env}` cannot be found in it. "
            "Write `environments:` and the names below it on lines of their own."
        )
    indent = plain[place[0] :].partition(project.test_env)[0]
    body = _body(project, static=static, indent=indent)
    return Change(path, text.encode(), stamps.spliced(added, *place, stamps.block(body, indent)).encode())


def _body(project: Project, *, static: bool, indent: str) -> str:
    """Return the lines of the block with this indent."""
    dumped = yaml_edit.dump({project.test_env: block(project, static=static)})
    return _explained("".join(f"{indent}{line}\n" for line in dumped.splitlines()))


def _place(text: str, environment: str) -> tuple[int, int] | None:
    """Return the start and end of an environment's block in the text; None if there is no such block.

    Comments and empty lines after the last key do not belong to the block.
    """
    section = re.search(r"^environments:[ \t]*(?:#.*)?\n", text, re.MULTILINE)
    key = section and re.compile(rf"^( +){re.escape(environment)}:[ \t]*(?:#.*)?\n", re.MULTILINE).search(
        text, section.end()
    )
    if not key:
        return None
    end = position = key.end()
    deeper = re.compile(rf"{key[1]} +\S.*\n?|{key[1]}- .*\n?")
    for line in text[position:].splitlines(keepends=True):
        position += len(line)
        if deeper.match(line) and not line.lstrip().startswith("#"):
            end = position
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return key.start(), end


def block(project: Project, *, static: bool, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of `environments.<test>`, without the variables and secrets of its `own` block.

    Raises SettingsError where a section is not a mapping.
    """
    base, own = project.manifest, own or {}
    image, there = _section(base, "image"), _section(base, "sidecars")
    depends_on = dict(_section(image, "depends_on"))
    startup = _startup(depends_on, there)
    names = _names(own)
    variables = {name: value for name, value in _variables(project).items() if name not in names}
    secrets = {name: value for name, value in _secrets(project).items() if name not in names}
    lent = inherited.image(base, project.test_env)
    redis, manage = wants_redis(project), images.main(project).command

    entry: dict[str, Any] = {}
    if startup in there:
        entry["command"] = _with_copy(_section(there, startup).get("command"), project)
    else:
        here = _section(_section(base, "environments").get(project.test_env) or {}, "image")
        entry |= {"essential": False, "image": {"build": here.get("build") or {**image, **lent}["build"]}}
        steps = [f"{manage} copy_stage_db", f"{manage} migrate --noinput"]
        if static:
            steps.append(f"{manage} collectstatic --noinput")
            entry["mount_points"] = [{"source_volume": "static", "path": STATIC, "read_only": False}]
        if images.main(project).runs_commands:
            entry["command"] = ["sh", "-c", " && ".join(steps)]
        else:  # the image's own ENTRYPOINT would start the service instead
            entry |= {"entrypoint": ["sh", "-c"], "command": [" && ".join(steps)]}
        if "env_file" in base:
            entry["env_file"] = base["env_file"]
    given = {} if startup in there else base
    entry |= _repeated(
        given, {**_section(own, "variables"), **variables}, {**_section(own, "secrets"), **secrets}
    )
    if startup not in there and (more := _of_addons(project, entry)):
        entry["secrets"] = {**entry.get("secrets", {}), **more}

    added: dict[str, Any] = {"count": {"spot": 1}, "deployment": {"rolling": "recreate"}}
    if base.get("http") is not False:
        path = inherited.http_path(base, project.test_env)
        added["http"] = {
            **({"path": path} if path else {}),
            "allowed_source_ips": ["127.0.0.0/8"],
            "deregistration_delay": "5s",
            "healthcheck": _healthcheck(project),
        }
    added["image"] = {
        **lent,
        "depends_on": {**depends_on, **({"redis": "start"} if redis else {}), startup: "success"},
    }
    added |= inherited.start(base, project.test_env)
    if static:
        added["storage"] = {"volumes": {"static": {"path": STATIC, "read_only": True}}}
    if variables:
        added["variables"] = variables
    added["secrets"] = secrets
    added["sidecars"] = {
        **({"redis": dict(sidecars.load("redis", None).sidecar)} if redis else {}),
        startup: entry,
    }
    return added


def wants_redis(project: Project) -> bool:
    """Return True if the project's manifest or addons name Redis, or its requirements or settings do.

    Settings that leave it off by an empty address, which neither sets, run without it.
    """
    folders = [f"copilot/{name}/addons" for name in (project.service, "environments")]
    given = [project.text(f"{folder}/{name}") or "" for folder in folders for name in project.listed(folder)]
    if re.search(r"redis|elasticache", "\n".join([str(project.manifest), *given]), re.IGNORECASE):
        return True
    named = re.findall(r"\bREDIS_(?:HOST|URL)[\"']", project.all_settings)
    if named and len(named) == len(_REDIS_OFF.findall(project.all_settings)):
        return False
    return bool(re.search(r"redis", f"{project.required}\n{project.all_settings}", re.IGNORECASE))


def _startup(depends_on: Mapping[str, Any], sidecars: Mapping[str, Any]) -> str:
    """Return the name of the sidecar that the service waits for, else the name of a new one."""
    waited_for = [
        name
        for name, condition in depends_on.items()
        if str(condition).lower() in {"success", "complete"} and name in sidecars
    ]
    return waited_for[0] if waited_for else "startup"


def _with_copy(command: Any, project: Project) -> list[str]:
    """Return the startup command with the copy before it. Raises SettingsError if there is no command."""
    copy = f"{images.main(project).command} copy_stage_db"
    if isinstance(command, str) and command.strip():
        return ["sh", "-c", f"{copy} && {command}"]
    match command:
        case [("sh" | "bash" | "/bin/sh" | "/bin/bash") as shell, "-c", str(script)]:
            return [shell, "-c", f"{copy} && {script}"]
        case [str(), *_] if all(isinstance(word, str) for word in command):
            return ["sh", "-c", f"{copy} && {shlex.join(command)}"]
    raise SettingsError(
        f"{project.root / project.manifest_path}: the copy cannot run first, because the startup sidecar has "
        "no command: give it one, such as ['sh', '-c', 'python manage.py migrate --noinput']."
    )


def _healthcheck(project: Project) -> dict[str, Any]:
    """Return a health check on HEALTH_PATH, because the base's own page may need a password here.

    Copilot keeps the base's other keys, except `success_codes`: the base's are for its own page.
    """
    own = _section(project.manifest, "http").get("healthcheck")
    codes = {"success_codes": "200"} if isinstance(own, dict) and "success_codes" in own else {}
    return {"path": HEALTH_PATH, **codes, "grace_period": "3600s"}


def _variables(project: Project) -> dict[str, Any]:
    lent, secrets = inherited.variables(project.manifest, project.test_env), _secrets(project)
    return {**{name: lent[name] for name in lent if name not in secrets}, **_own_variables(project)}


def _own_variables(project: Project) -> dict[str, Any]:
    given = _names(project.manifest)
    variables: dict[str, Any] = media.variables(project.media)
    if "EMAIL_BACKEND" not in _section(project.manifest, "secrets"):
        variables["EMAIL_BACKEND"] = "django.core.mail.backends.console.EmailBackend"
    if wants_redis(project):
        wanted = {"REDIS_HOST": "localhost", "REDIS_URL": "redis://localhost:6379/0"}
        text = f"{project.all_settings}\n{project.manifest}"
        named = {name: value for name, value in wanted.items() if re.search(rf"\b{name}\b", text)}
        named = named or wanted
        if re.search(r"\bREDIS_PORT\b", text):
            named["REDIS_PORT"] = "6379"
        # ECS refuses a name that is a secret too.
        variables |= {
            name: named[name] for name in named if name not in _section(project.manifest, "secrets")
        }
    constants = django_settings.constant_settings(project)
    for name, value in (("DEBUG", "0"), ("ALLOWED_HOSTS", "*")):
        if name in constants and name not in given:
            variables[name] = value
    return variables


def _secrets(project: Project) -> dict[str, Any]:
    given = _names(project.manifest)
    wanted = ["DATABASE_URL", "STAGE_DATABASE_URL"]
    if "SECRET_KEY" in django_settings.constant_settings(project):
        wanted.insert(1, "SECRET_KEY")
    elif (name := django_settings.secret_key_variable(project)) and "env_file" not in project.manifest:
        wanted.insert(1, name)
    lent, own = inherited.secrets(project.manifest, project.test_env, _SECRET), _own_variables(project)
    needed = {name: f"{_SECRET}{name}" for name in wanted if name not in given}
    return {**{name: lent[name] for name in lent if name not in own}, **needed}


def _repeated(
    base: Mapping[str, Any], variables: Mapping[str, Any], secrets: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sections of a sidecar, which inherits nothing: the service's of the base, and these."""
    merged = (
        ("variables", {**_section(base, "variables"), **variables}),
        ("secrets", {**_section(base, "secrets"), **secrets}),
    )
    return {key: section for key, section in merged if section}


def _of_addons(project: Project, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return secrets for the outputs of the addons, which Copilot gives the main container alone."""
    folder = f"copilot/{project.service}/addons"
    files = [name for name in project.listed(folder) if name.endswith((".yml", ".yaml"))]
    names = [name for file in files for name in addons.variables(project.text(f"{folder}/{file}") or "")]
    known = {*entry.get("variables", ()), *entry.get("secrets", ())}
    return {name: f"{_SECRET}{name}" for name in names if name not in known}


def _names(base: Mapping[str, Any]) -> set[str]:
    """Return the names of the variables and secrets that every environment has."""
    return {*_section(base, "variables"), *_section(base, "secrets")}


def _section(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = holder.get(key)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise SettingsError(f"The manifest's `{key}` is not a mapping, so Copilot refuses it too. Write one.")
    return section


def _shown(content: Mapping[str, Any]) -> str:
    return "".join(f"    {line}\n" for line in yaml_edit.dump(content).splitlines())


def _appended(text: str, wanted: Mapping[str, Any]) -> str:
    """Return the text with a new section after its last line. Raises Refused, YAMLError."""
    newline = "\r\n" if "\r\n" in text else "\n"
    gap = newline if text.endswith(newline) else newline * 2
    after = text + gap + f"{yaml_edit.dump(wanted)}\n".replace("\n", newline)
    if yaml.safe_load(after) != {**yaml.safe_load(text), **wanted}:
        raise Refused("Nothing can be appended to the manifest: its last lines would include the section.")
    return after


def _explained(text: str) -> str:
    """Return the text with a comment behind each line that an editor may not understand."""
    lines = []
    for line in text.splitlines(keepends=True):
        why = _WHY.get(line.strip())
        lines.append(f"{line.rstrip().ljust(36)}  # {why}\n" if why else line)
    return "".join(lines)
