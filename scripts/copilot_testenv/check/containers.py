"""Rules on the containers of a task: the startup sidecar, dependencies, variables and secrets, images."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from copilot_testenv.check import dockerfile, running
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, Severity, in_environments
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import Container, Keys, containers, value, where
from copilot_testenv.copilot.service_sidecar import OF_SERVERS
from copilot_testenv.copilot.templates import Refusal, Template

# Copilot's words; source: internal/pkg/manifest/validate.go of aws/copilot-cli 1.34.
_MISSING = re.compile(r"container dependencies: container (\S+) does not exist")
_CYCLE = re.compile(r"circular container dependency chain includes the following containers: \[(.+?)\]")
_ITSELF = re.compile(r"container dependencies: container (\S+) cannot depend on itself")
_ESSENTIAL = re.compile(r"essential container (\S+) can only have status")
_REFUSALS = (_MISSING, _CYCLE, _ITSELF, _ESSENTIAL)
_END = frozenset({"success", "complete"})
# The host in an address, or the value of a variable that names a host.
_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*://(?:[^/@]*@)?)?(?P<host>[A-Za-z0-9-]+)(?::[0-9]+)?(?:/.*)?")
_NAMES_HOST = re.compile(r"(?:^|_)(?:HOST|HOSTNAME|SERVER|ADDR|ADDRESS)$")
_MOVING = frozenset({"latest", "stable", "main", "master", "edge", "nightly"})  # words in tags that move


def is_reported(refusal: Refusal) -> bool:
    """Return True if `dependencies` reports this refusal, with its line."""
    return any(words.search(refusal.why) for words in _REFUSALS)


def dependencies(project: Project) -> Iterator[Finding]:
    """Find `depends_on` that Copilot refuses, and conditions that it accepts but that can never be met."""
    yield from in_environments(_dependencies(project))


def startup(project: Project) -> Iterator[Finding]:
    """Find containers that end and thereby end the task, because they are not `essential: false`."""
    yield from in_environments(_startup(project))


def givens(project: Project) -> Iterator[Finding]:
    """Find variables and secrets of the main container that a sidecar with the same project lacks."""
    yield from in_environments(_givens(project))


def images(project: Project) -> Iterator[Finding]:
    """Find images whose tag may move to another image; hadolint reports those in a Dockerfile."""
    yield from in_environments(_images(project))


def hosts(project: Project) -> Iterator[Finding]:
    """Find variables that name a sidecar as a host: the containers of a task share localhost, and no names.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
    """
    yield from in_environments(_hosts(project))


def _hosts(project: Project) -> Iterator[tuple[str, Finding]]:
    for document, environment, template in project.templates():
        every = containers(template)
        sidecars = {each.name for each in every if not each.main} - set(project.services)
        for each in every:
            for name, given in each.variables.items():
                found = _HOST.fullmatch(given) if isinstance(given, str) else None
                if not found or found["host"] not in sidecars:
                    continue
                if "://" in given or _NAMES_HOST.search(name):
                    what = f"{name} names the sidecar {found['host']} as a host, which the task does not know"
                    line = where(document, environment, *each.keys, "variables", name)
                    instead = "write `localhost`: the containers of a task share it"
                    yield environment, Finding(document.path, line, "sidecar-host", "error", what, instead)


def _dependencies(project: Project) -> Iterator[tuple[str, Finding]]:
    for (service, environment), found in project.rendered.items():
        document = project.services[service]
        if isinstance(found, Refusal):
            for finding in _refused(document, environment, found.why):
                yield environment, finding
        else:
            for finding in _unmet(project, document, environment, found):
                yield environment, finding


def _refused(document: Document, environment: str, why: str) -> Iterator[Finding]:
    names = _names(document, environment)
    if found := _MISSING.search(why):
        near = difflib.get_close_matches(found[1], names, 1)
        instead = f"write {near[0]}" if near else f"write one of {', '.join(names)}, or remove it"
        what = f"a container depends on {found[1]}, and there is no container of that name"
        yield _dependency(document, _waiting(document, environment, [found[1]]), what, instead)
    elif found := _CYCLE.search(why):
        members = found[1].split()
        at = _waiting(document, environment, members, among=members)
        what = f"the containers {', '.join(members)} wait for each other, so none of them starts"
        yield _dependency(document, at, what, "remove one of their `depends_on`")
    elif found := _ITSELF.search(why):
        at = _waiting(document, environment, [found[1]], among=[found[1]])
        what = f"the container {found[1]} waits for itself"
        yield _dependency(document, at, what, "remove this dependency")
    elif found := _ESSENTIAL.search(why):
        name = found[1]
        keys: Keys = ("sidecars", name)
        if value(document, environment, *keys) is None:
            at = _waiting(document, environment, [name])
            what = f"a container waits until {name} has ended, which is the service itself and does not end"
            yield _dependency(document, at, what, "write `start` or `healthy`")
        else:
            what = f"{name} is waited for until it ends, and is essential: the task would end with it"
            instead = (
                f"write `essential: false` under `sidecars.{name}`; `start` or `healthy` if it does not end"
            )
            line = where(document, environment, *keys, "essential")
            yield Finding(document.path, line, "startup", "error", what, instead)


def _unmet(project: Project, document: Document, environment: str, template: Template) -> Iterator[Finding]:
    known = {each.name: each for each in containers(template)}
    for waiting in known.values():
        for name, condition in waiting.depends_on.items():
            other = known.get(name)
            line = where(document, environment, *waiting.depends_on_keys, name)
            what = f"{waiting.name} waits until {name} is"
            if other is None:  # a patch has removed it
                finding = (f"{waiting.name} waits for {name}, and there is no such container", "remove it")
            elif condition == "healthy" and _ends(project, document, environment, other):
                finding = (f"{what} healthy, and it ends when it is done", "write `success`")
            elif condition == "healthy" and not other.has_healthcheck:
                below = ".".join(map(str, (*other.keys, *(("image",) if other.main else ()), "healthcheck")))
                finding = (
                    f"{what} healthy, and it has no health check (ECS reads none of the image's own)",
                    f"write one as `{below}.command`, or wait for `start`",
                )
            elif condition in _END and _ends(project, document, environment, other) is False:
                finding = (f"{what} through, and it is a server, which does not end", "write `start`")
            else:
                continue
            yield Finding(document.path, line, "dependency", "error", *finding)


def ending(project: Project) -> Iterator[tuple[Document, Keys]]:
    """Yield (manifest, keys) of each sidecar that comes to an end and lacks `essential: false`."""
    found: dict[tuple[str, Keys], None] = {}
    for (service, environment), stack in project.rendered.items():
        document = project.services[service]
        if isinstance(stack, Refusal):
            essential = _ESSENTIAL.search(stack.why)
            names = [essential[1]] if essential else []
        else:
            names = [
                each.name
                for each in containers(stack)
                if not each.main and each.essential and _ends(project, document, environment, each)
            ]
        for name in names:
            base: Keys = ("sidecars", name)
            keys = base if document.get(*base) is not None else ("environments", environment, *base)
            if isinstance(document.get(*keys), dict) and document.get(*keys, "essential") is None:
                found[service, keys] = None
    for service, keys in found:
        yield project.services[service], keys


def _startup(project: Project) -> Iterator[tuple[str, Finding]]:
    for document, environment, template in project.templates():
        for each in containers(template):
            if each.main or not each.essential or not _ends(project, document, environment, each):
                continue
            keys = (*each.keys, "essential")
            if value(document, environment, *keys) is None and document.get(*each.keys) is not None:
                line = document.line(*each.keys)  # written there, it holds in every environment
            else:
                line = where(document, environment, *keys)
            what = f"{each.name} ends when it is done, and is essential: the task ends with it"
            instead = f"write `essential: false` under `sidecars.{each.name}`"
            yield environment, Finding(document.path, line, "startup", "error", what, instead)


def _givens(project: Project) -> Iterator[tuple[str, Finding]]:
    for document, environment, main, each, severity in _copies(project):
        for section, noun, name in _lacking(project.root, document, environment, main, each):
            at = (section, name) if name else (section,)
            block, lost = _block(document, environment, each, at), f"lacks the {noun} {name}"
            cure = f"repeat it under `{'.'.join(map(str, (*block, *each.keys, section)))}`"
            if not name:
                lost, cure = (
                    f"lacks what {noun} gives to the service",
                    f"repeat `env_file` under `sidecars.{each.name}`",
                )
            what = f"{each.name} runs the project too and {lost}"
            if name:
                what += ": a sidecar inherits nothing of the service"
            line = where(document, environment, *at)
            yield environment, Finding(document.path, line, "lacks", severity, what, cure)


def repeats(project: Project) -> Iterator[tuple[Document, Keys, Any]]:
    """Yield what `givens` calls an error: the manifest, the keys that the sidecar lacks, and their value.

    A value of an environment's block goes to the sidecar in that block.
    """
    found: dict[tuple[str, Keys], None] = {}
    for document, environment, main, each, severity in _copies(project):
        for section, _, name in _lacking(project.root, document, environment, main, each):
            at: Keys = (section, name) if name else (section,)
            keys = (*_block(document, environment, each, at), *each.keys, *at)
            given = value(document, environment, *at)
            if severity == "error" and given is not None and (document.path, keys) not in found:
                found[document.path, keys] = None
                yield document, keys, given


def _copies(project: Project) -> Iterator[tuple[Document, str, Container, Container, Severity]]:
    """Yield each sidecar that runs the project, with the main container, and how much a lack matters."""
    for document, environment, template in project.templates():
        found = containers(template)
        main = next((each for each in found if each.main), None)
        awaited = {name for each in found for name, how in each.depends_on.items() if how in _END}
        for each in found if main else ():
            steps = running.steps(project.root, document, environment, each)
            if each.name in project.settings.companions:  # services.in_step compares it with its manifest
                continue
            if not main or each.main or not _is_project(document, environment, main, each, steps):
                continue
            is_startup = each.name in awaited or running.ends(each, steps)
            yield document, environment, main, each, "error" if is_startup else "warning"


def _block(document: Document, environment: str, other: Container, at: Keys) -> Keys:
    """Return the keys of the block in which the sidecar repeats the value: an environment's, or none."""
    if document.get(*other.keys) is None:
        return ("environments", environment)
    return document.nearest(environment, *at)[: -len(at)]


def _lacking(
    root: Path, document: Document, environment: str, main: Container, other: Container
) -> Iterator[tuple[str, str, str]]:
    """Yield the section, its noun and the name of what a sidecar lacks; of `env_file` the file alone."""
    has = {*other.variables, *other.secrets, *in_file(root, document, environment, other)}
    for section, noun, names in (
        ("variables", "variable", main.variables),
        ("secrets", "secret", main.secrets),
    ):
        for name in names:
            if name not in has and not (section == "variables" and OF_SERVERS.fullmatch(name)):
                yield section, noun, name
    file = value(document, environment, "env_file")
    if isinstance(file, str) and value(document, environment, *other.keys, "env_file") is None:
        yield "env_file", file, ""


def in_file(root: Path, document: Document, environment: str, container: Container) -> dict[str, str | None]:
    """Return what the container's `env_file` sets."""
    path = value(document, environment, *container.keys, "env_file")
    file = dockerfile.inside(root, path) if isinstance(path, str) else None
    try:
        return dotenv_values(file, interpolate=False) if file else {}
    except (OSError, ValueError):
        return {}


def _images(project: Project) -> Iterator[tuple[str, Finding]]:
    for document, environment, template in project.templates():
        for each in containers(template):
            keys = ("logging",) if each.name == "firelens_log_router" else each.keys
            given = value(document, environment, *keys, "image")
            if not each.image or given is None or _is_pinned(each.image):
                continue  # Copilot builds this image, or chooses it
            inner = ("location",) if isinstance(given, dict) else ()
            line = where(document, environment, *keys, "image", *inner)
            what = f"the image {each.image} has no pinned tag, so that it may be another one tomorrow"
            instead = f"write its version, as in `{_untagged(each.image)}:VERSION`"
            yield environment, Finding(document.path, line, "image", "warning", what, instead)


def _untagged(image: str) -> str:
    folder, slash, name = image.rpartition("/")
    return f"{folder}{slash}{name.partition(':')[0]}"


def _is_pinned(image: str) -> bool:
    """Return True if the image has a digest, or a tag with a number and without a word such as `latest`.

    `v2-latest` is not pinned. A major version alone is accepted: some projects choose that on purpose.
    """
    if "@sha256:" in image:
        return True
    _, _, tag = image.rpartition("/")[2].partition(":")
    moves = not _MOVING.isdisjoint(re.split(r"[^a-z]+", tag.lower()))
    return not moves and any(letter.isdigit() for letter in tag)


def _ends(project: Project, document: Document, environment: str, container: Container) -> bool | None:
    return running.ends(container, running.steps(project.root, document, environment, container))


def _is_project(
    document: Document,
    environment: str,
    main: Container,
    other: Container,
    steps: list[running.Step],
) -> bool:
    """Return True if a sidecar runs the main container's image, or Django's command line."""
    same = main.image == other.image
    if same and not main.image:
        builds = (dockerfile.build_of(document, environment, each) for each in (main, other))
        first, second = ((build.dockerfile, build.context) if build else None for build in builds)
        same = first is not None and first == second
    return same or running.runs_project(steps)


def _names(document: Document, environment: str) -> list[str]:
    found: list[str] = [str(document.get("name"))]
    for keys in (("sidecars",), ("environments", environment, "sidecars")):
        sidecars = document.get(*keys)
        found += [str(name) for name in sidecars] if isinstance(sidecars, dict) else []
    return list(dict.fromkeys(found))


def _waiting(document: Document, environment: str, names: list[str], among: list[str] | None = None) -> int:
    """Return the line of the first dependency on one of `names`; with `among`, only by these containers."""
    for name in _names(document, environment):
        if among and name not in among:
            continue
        keys: Keys = ("image",) if name == document.get("name") else ("sidecars", name)
        for wanted in names:
            if value(document, environment, *keys, "depends_on", wanted) is not None:
                return where(document, environment, *keys, "depends_on", wanted)
    return document.line("environments", environment)


def _dependency(document: Document, line: int, what: str, instead: str) -> Finding:
    return Finding(document.path, line, "dependency", "error", what, instead)


RULES = (dependencies, startup, givens, images, hosts)
