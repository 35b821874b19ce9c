"""Find what a manifest expects of files beside it and does not find: stages, ports, env files, sources."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator
from typing import Any

from copilot_testenv.check import dockerfile, shell_text
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, Severity, in_environments
from copilot_testenv.check.project import Project
from copilot_testenv.check.registration import containers
from copilot_testenv.check.task import where
from copilot_testenv.copilot import manifest
from copilot_testenv.core import git
from copilot_testenv.core.errors import UserError

_SERVERS = frozenset({"gunicorn", "uvicorn", "hypercorn", "daphne", "granian"})
_BOUND = re.compile(r"(?:^|:)(\d{2,5})$")
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|::1|\[::1\])(:\d+)?")
_ARCHITECTURES = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64"}
_LAST_PORT = 65535
Keys = tuple[str | int, ...]


def images(project: Project) -> Iterator[Finding]:
    """Find stages that a Dockerfile lacks, ports without a server, and images of another processor."""
    yield from in_environments(_images(project))


def files(project: Project) -> Iterator[Finding]:
    """Find env files and sources of static sites that are not in the repository, and not left out of Git."""
    yield from in_environments(_files(project))


def _images(project: Project) -> Iterator[tuple[str, Finding]]:
    for document in project.services.values():
        for environment in project.names:
            for keys, container in containers(document, environment).items():
                image = container.get("image")
                build = manifest.build(image.get("build")) if isinstance(image, dict) else None
                text = dockerfile.text_of(project.root, build.dockerfile) if build else None
                if not isinstance(image, dict) or build is None or text is None or "${" in build.target:
                    continue
                found = [*_stage(text, build)]
                if not keys and not found:
                    own = _alone(document, environment, text, build, container)
                    yield from ((environment, finding) for finding in own)
                for rule, key, what, instead in found or [
                    *_port(text, build, image, container),
                    *_platform(text, container),
                ]:
                    line = where(document, environment, *keys, *key)
                    severity: Severity = "error" if rule != "expose" else "warning"
                    yield environment, Finding(document.path, line, rule, severity, what, instead)


def _stage(text: str, build: manifest.Build) -> Iterator[tuple[str, Keys, str, str]]:
    stages = dockerfile.stages(text)
    if build.target and build.target.lower() not in stages and not build.target.isdigit():
        near = difflib.get_close_matches(build.target.lower(), stages, 1)
        named = ", ".join(stage for stage in stages if stage)
        instead = f"write `{near[0]}`" if near else f"write one of {named}" if named else "remove `target`"
        what = f"{build.dockerfile} has no stage {build.target}"
        yield "stage", ("image", "build", "target"), what, instead


def _port(
    text: str, build: manifest.Build, image: dict[str, Any], container: dict[str, Any]
) -> Iterator[tuple[str, Keys, str, str]]:
    """Compare the port with the server's own, where its command says it, else with what is exposed."""
    port = image.get("port", container.get("port"))
    key: Keys = ("image", "port") if "port" in image else ("port",)
    number = str(port).partition("/")[0]
    if not number.isdigit():
        return
    bound = _bound(container, text, build)
    if bound and bound != number and int(number) <= _LAST_PORT:
        what = f"the server listens at port {bound}, and the manifest has {number}"
        yield "port", key, what, f"write `port: {bound}`, or let the server listen at {number}"
    exposed = dockerfile.exposed(text, build.target)
    if not bound and exposed and number not in exposed:
        what = f"{build.dockerfile} exposes {', '.join(exposed)}, and the manifest has port {number}"
        yield "expose", key, what, f"write `port: {exposed[0]}` if the server listens there"


def _alone(
    document: Document, environment: str, text: str, build: manifest.Build, container: dict[str, Any]
) -> Iterator[Finding]:
    """Find a server that listens at 127.0.0.1, although nothing else in the task passes requests to it."""
    if container.get("sidecars") or not str(container.get("image", {}).get("port", "")).isdigit():
        return
    for words in _servers(container, text, build):
        given = [value for name, value in _flags(words) if name in {"--bind", "-b", "--host"}]
        if not given or not all(_LOOPBACK.fullmatch(value) for value in given):
            continue
        what = f"the server listens at {given[0]} alone, so no request from outside of the task reaches it"
        place = (build.dockerfile, 1)
        if key := next((key for key in ("command", "entrypoint") if container.get(key)), ""):
            place = (document.path, where(document, environment, key))
        elif start := dockerfile.starts(text, build.target).command:
            place = (build.dockerfile, start.line)
        yield Finding(*place, "port", "error", what, "write 0.0.0.0 instead")


def _bound(container: dict[str, Any], text: str, build: manifest.Build) -> str:
    """Return the port at which the command's server listens; empty where that is not known."""
    for words in _servers(container, text, build):
        for name, value in _flags(words):
            if name in {"--bind", "-b", "--port", "-p", "--listen"}:
                found = _BOUND.search(value)
                return found[1] if found else ""
    return ""


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each word before its `=` with what follows it, or with the next word."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, joined = word.partition("=")
        yield name, joined if equals else following


def _servers(container: dict[str, Any], text: str, build: manifest.Build) -> Iterator[list[str]]:
    """Yield the words of each server that the container's command starts."""
    command = container.get("command") or container.get("entrypoint")
    simples: list[shell_text.Simple] = []
    if command:
        try:
            words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        except (ValueError, TypeError):
            return
        simples = list(shell_text.of_words(tuple(words)))
    elif start := dockerfile.starts(text, build.target).command:
        simples = list(start.simples)
    for simple in simples:
        if shell_text.name_of(simple.program) in _SERVERS:
            yield list(simple.own)


def _platform(text: str, container: dict[str, Any]) -> Iterator[tuple[str, Keys, str, str]]:
    """Compare the processor of the task with that of the last stage."""
    given = container.get("platform")
    wanted = given.get("architecture") if isinstance(given, dict) else given
    named = re.findall(r"^\s*FROM\s+--platform=(\S+)", text, re.IGNORECASE | re.MULTILINE)
    last = named[-1].rpartition("/")[2] if named and text.upper().count("\nFROM") <= len(named) else ""
    if not isinstance(wanted, str | None) or "$" in last:
        return
    mine, other = (_ARCHITECTURES.get(each.rpartition("/")[2]) for each in (wanted or "linux/amd64", last))
    if mine and other and mine != other:
        what = f"the task runs on {mine}, and the Dockerfile builds for {other}"
        yield "platform", ("platform",), what, f"write `platform: linux/{other}`, or build for {mine}"


def _files(project: Project) -> Iterator[tuple[str, Finding]]:
    for document in project.services.values():
        for environment in project.names:
            for keys, container in containers(document, environment).items():
                path = container.get("env_file")
                if isinstance(path, str) and _is_missing(project, path):
                    what = f"the env file {path} is not in the repository"
                    line = where(document, environment, *keys, "env_file")
                    yield (
                        environment,
                        Finding(document.path, line, "file", "error", what, "add it, or correct the path"),
                    )
            yield from ((environment, found) for found in _sources(project, document, environment))


def _sources(project: Project, document: Document, environment: str) -> Iterator[Finding]:
    listed = document.get(*document.nearest(environment, "files"))
    for number, upload in enumerate(listed if isinstance(listed, list) else ()):
        source = upload.get("source") if isinstance(upload, dict) else None
        if document.get("type") == "Static Site" and isinstance(source, str) and _is_missing(project, source):
            line = where(document, environment, "files", number, "source")
            what = f"the source {source} is not in the repository"
            yield Finding(document.path, line, "file", "error", what, "add it, or correct the path")


def _is_missing(project: Project, path: str) -> bool:
    """Return True if there is no such file, and it is none that a build of CI makes, which Git leaves out."""
    place = project.root / path.lstrip("/")  # Copilot joins the path to that of the workspace
    if "${" in path or not path or place.exists():
        return False
    try:
        words = ("check-ignore", "-q", "--no-index", "--", path)
        return project.shell.run(git.command(project.root, *words)).returncode != 0
    except UserError:
        return True


RULES = (images, files)
