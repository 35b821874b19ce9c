"""The program `docker` on Copilot's PATH in the sandbox. It answers only the six calls that Copilot makes.

A deploy waits for each call, which is a process, so modules are imported only when they are needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from copilot_sandbox import child_variables
from copilot_sandbox.boot import bare
from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import registry
from copilot_sandbox.private import write_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.agent.engine import Engine

_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(.+)")
_CALLS = "version, info, login, build, push, inspect"
_RETRY_SECONDS = 600  # in which a failed build of the same process is not tried again
_TAGS = ("-t", "--tag")
# Copilot looks at the output of its builds now and then, and drops what a build writes just before its end.
# Source: seen on Copilot 1.34.1, with two builds at once.
_SHOW_SECONDS = 0.3
_SHOWN_LINES = 3  # at once: Copilot shows the last five of what a build has written since it last looked
# The builder's notes for the user, on what the image lacks and on another Python.
_NOTE = re.compile(r"sandbox: (?:line \d|\S+ is Python )")
_TIMEOUT = 30  # seconds for the embedded AWS to answer
# Flags of `docker build`: True if a value follows.
_BUILD_FLAGS = {
    "-t": True,
    "--tag": True,
    "-f": True,
    "--file": True,
    "--label": True,
    "--build-arg": True,
    "--platform": True,
    "--target": True,
    "--cache-from": True,
    "--progress": True,
    "--pull": False,
    "--no-cache": False,
    "-q": False,
    "--quiet": False,
}


ENGINE = "engine.json"  # the engine that builds, in the sandbox's folder; null: there is none
# These are the engine's business too. Tags are only the sandbox's, and nothing reads Copilot's labels.
_ENGINE_FLAGS = ("--build-arg", "--no-cache", "--platform", "--pull", "--target")


class DockerError(SandboxError):
    """The call cannot be answered."""


def write_docker(bin_dir: Path, state_dir: Path, engine: Engine | None = None) -> Path:
    """Write the program `bin_dir/docker`, which keeps its images in `state_dir`. Return its path.

    With `engine`, that one builds the images.

    Python starts without site-packages (-S) and without the user's Python settings (-I): neither is needed,
    and this takes 10 ms instead of 30.
    """
    words = [*bare("copilot_sandbox.images.docker", "main"), str(state_dir.resolve())]
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(state_dir / ENGINE, json.dumps(engine))
    bin_dir.mkdir(parents=True, exist_ok=True)
    program = bin_dir / "docker"
    text = (
        "#!/bin/sh\n"
        "# Answers Copilot in the sandbox. Written when the sandbox starts.\n"
        # The sandbox finds the programs of a build by this mark, and ends them when it is stopped.
        f"export {child_variables.OWNER}={shlex.quote(str(state_dir.resolve()))}\n"
        f'exec {shlex.join(words)} "$@"\n'
    )
    write_private(program, text, mode=0o700)
    return program


def main(arguments: Sequence[str]) -> int:
    """Answer one call. The first argument is the folder with the images.

    Return the exit code: 0, or 1 with one line on standard error.
    """
    state, *words = arguments
    calls = {
        "version": _version,
        "info": _info,
        "login": _login,
        "build": _build,
        "push": _push,
        "inspect": _inspect,
    }
    try:
        call = calls.get(words[0]) if words else None
        if call is None:
            raise DockerError(
                f"`docker {shlex.join(words)}` is not answered in the sandbox: there is no Docker here, only"
                f" the calls that Copilot makes ({_CALLS})."
            )
        call(Path(state), list(words[1:]))
    except SandboxError as error:
        print(f"docker (sandbox): {error}", file=sys.stderr, flush=True)  # noqa: T201 - this is a program
        if words[:1] == ["build"]:
            time.sleep(_SHOW_SECONDS)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


def _version(_state: Path, words: list[str]) -> None:
    """Print the platform, as `copilot svc init` requires."""
    template = _template(words, ("-f", "--format"))
    if template is None or "{{json .Server}}" not in template:
        raise DockerError(
            "`docker version` is answered with -f '{{json .Server}}' only, as Copilot calls it."
        )
    arch = "arm64" if os.uname().machine in {"arm64", "aarch64"} else "amd64"
    _say(template.replace("{{json .Server}}", f'{{"Version":"sandbox","Os":"linux","Arch":"{arch}"}}'))


def _info(_state: Path, words: list[str]) -> None:
    template = _template(words, ("-f", "--format"))
    if template is None or "{{json .}}" not in template:
        raise DockerError("`docker info` is answered with -f '{{json .}}' only, as Copilot calls it.")
    _say(template.replace("{{json .}}", '{"ID":"sandbox","ServerVersion":"sandbox","OSType":"linux"}'))


def _login(_state: Path, words: list[str]) -> None:
    if "--password-stdin" not in words:
        raise DockerError(
            "`docker login` is answered with --password-stdin only: a password is never an argument."
        )
    sys.stdin.buffer.read()  # the password is ignored, because the embedded AWS requires none
    _say("Login Succeeded")


def _template(words: list[str], flags: tuple[str, str]) -> str | None:
    for number, word in enumerate(words):
        if word in flags and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(flags[1] + "="):
            return word.partition("=")[2]
    return None


def _inspect(state: Path, words: list[str]) -> None:
    template = _template(words, ("-f", "--format"))
    query = "{{json (index .RepoDigests 0)}}"
    if template is None or query not in template:
        raise DockerError(f"`docker inspect` is answered with --format '{query}' only, as Copilot calls it.")
    reference = words[-1]
    digest = registry.pushed(state, reference)
    if digest is None:
        known = registry.tagged(state, reference)
        reason = "it was built, but not pushed" if known else "No such object"
        raise DockerError(f"inspect {reference}: {reason}")
    _say(template.replace(query, f'"{registry.split_reference(reference)[0]}@{digest}"'))


class _BuildOptions(NamedTuple):
    context: Path
    flags: list[tuple[str, str]]

    def all(self, *names: str) -> list[str]:
        return [value for name, value in self.flags if name in names]

    def last(self, *names: str) -> str | None:
        found = self.all(*names)
        return found[-1] if found else None


def _parse_build(words: list[str]) -> _BuildOptions:
    flags: list[tuple[str, str]] = []
    contexts = []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            contexts.append(word)
        elif name not in _BUILD_FLAGS:
            raise DockerError(f"`docker build {name}` is not supported in the sandbox.")
        elif not _BUILD_FLAGS[name]:
            flags.append((name, ""))
        elif equals or words:
            flags.append((name, value if equals else words.pop(0)))
        else:
            raise DockerError(f"`docker build {name}` needs a value.")
    if len(contexts) != 1 or contexts == ["-"]:
        raise DockerError("`docker build` needs exactly one folder as its context.")
    return _BuildOptions(Path(contexts[0]), flags)


def _build(state: Path, words: list[str]) -> None:
    asked_at = time.time()
    options = _parse_build(words)
    dockerfile = Path(options.last("-f", "--file") or options.context / "Dockerfile")
    digest = _build_once(state, options, dockerfile, asked_at)
    for reference in options.all(*_TAGS):
        registry.tag(state, reference, digest)
        _say(f"naming to {reference} done")
    _say(f"writing image {digest} done")


def _build_once(state: Path, options: _BuildOptions, dockerfile: Path, asked_at: float) -> str:
    """Build unless the same process of Copilot has this build already. Return the image's digest.

    Copilot builds one Dockerfile at the same time for each container that has it, and tells those builds
    apart by tags and labels alone: the second one waits for the first. It runs a build that fails ten times;
    here it fails each time for the same reason.
    Source: seen on Copilot 1.34.1.
    """
    with _record_of(state, options, dockerfile).open("a+") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        record.seek(0)
        known = json.loads(record.read() or "{}")
        if "failure" in known and asked_at - known["ended_at"] < _RETRY_SECONDS:
            raise DockerError(known["failure"])
        if "digest" in known and known["ended_at"] > asked_at:
            return str(known["digest"])
        try:
            digest = _build_image(state, options, dockerfile)
        except SandboxError as error:
            _rewrite(record, failure=str(error).splitlines()[-1])
            raise
        _rewrite(record, digest=digest)
        return digest


def _rewrite(record: TextIO, **result: str) -> None:
    record.truncate(0)
    json.dump({**result, "ended_at": time.time()}, record)


def _record_of(state: Path, options: _BuildOptions, dockerfile: Path) -> Path:
    """Return the file with the last result of a build of one process of Copilot."""
    folder = state / "builds"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _RETRY_SECONDS:
                old.unlink()
    text = dockerfile.read_bytes() if dockerfile.is_file() else b""
    flags = [each for each in options.flags if each[0] not in (*_TAGS, "--label")]
    build = json.dumps([os.getppid(), str(options.context), flags]).encode() + text
    return folder / hashlib.sha256(build).hexdigest()


def _build_image(state: Path, options: _BuildOptions, dockerfile: Path) -> str:
    """Build with the engine of the sandbox, if it has one. Return the image's digest."""
    # `--build-arg NAME` would use the environment's value, which is the user's.
    flags = [each for each in options.flags if each[0] != "--build-arg" or "=" in each[1]]
    file = state / ENGINE
    engine = json.loads(file.read_text()) if file.exists() else None
    # The imports are here, because the other calls do not need them and would take longer.
    if engine is not None:
        from copilot_sandbox.agent.engine import Engine as AnEngine  # noqa: PLC0415
        from copilot_sandbox.images import engine_build  # noqa: PLC0415

        return engine_build.build(
            AnEngine(*engine),
            options.context,
            dockerfile,
            state,
            flags=[each for each in flags if each[0] in _ENGINE_FLAGS],
            is_shown=True,
        )
    from copilot_sandbox.images.build import build  # noqa: PLC0415

    notes: list[str] = []
    try:
        return build(
            options.context,
            dockerfile,
            state,
            say=lambda line: notes.append(line) if _NOTE.match(line) else _say(line),
            arguments=dict(value.partition("=")[::2] for name, value in flags if name == "--build-arg"),
            target=options.last("--target"),
            platform=options.last("--platform"),
        )
    finally:
        for number, note in enumerate(notes, 1):
            _say(note)
            if number % _SHOWN_LINES == 0 or number == len(notes):
                time.sleep(_SHOW_SECONDS)


def _push(state: Path, words: list[str]) -> None:
    quiet = {"-q", "--quiet"} & set(words)
    references = [word for word in words if not word.startswith("-")]
    if len(references) != 1:
        raise DockerError("`docker push` needs exactly one image.")
    (reference,) = references
    repository, tag = registry.split_reference(reference)
    digest = registry.tagged(state, reference)
    if digest is None:
        raise DockerError(f"An image does not exist locally with the tag: {reference}")
    match = _ECR.fullmatch(repository)
    if match is None:
        raise DockerError(f"{repository} is not an ECR repository, and the sandbox has no other registry.")
    account, region, name = match.groups()
    manifest = registry.manifest(state, digest)

    from copilot_sandbox.images import ecr  # noqa: PLC0415 - only this call needs TLS

    ecr.put_image(
        ecr.Target(region, account, name), tag=tag, digest=digest, manifest=manifest, timeout=_TIMEOUT
    )
    registry.record_push(state, reference, digest)
    if quiet:
        _say(reference)
    else:
        _say(f"The push refers to repository [{repository}]")
        _say(f"{tag}: digest: {digest} size: {len(manifest)}")
