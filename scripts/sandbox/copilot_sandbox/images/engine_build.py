"""Builds images with a container engine, and keeps their settings where the sandbox's own images are."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copilot_sandbox import child_variables
from copilot_sandbox.agent.engine import (
    OWNER_LABEL,
    Engine,
    EngineError,
    has_image,
    limits,
    pull,
    qualified,
    variables,
)
from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import build_variables, engine_guard, registry
from copilot_sandbox.images.dockerfile import Dockerfile, expand, parse
from copilot_sandbox.images.ignore import ignored_text
from copilot_sandbox.private import write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LAST_LINES = 8


def pull_bases(engine: Engine, dockerfile: Path, say: Callable[[str], None]) -> None:
    """Pull the base images of a Dockerfile that this machine does not have. Raises SandboxError."""
    bases = _bases(_parsed(dockerfile), {})
    engine_guard.require(_parsed(dockerfile), bases, engine.version)
    for name in dict.fromkeys(map(qualified, bases.values())):
        if has_image([engine.program], name):
            continue
        say(f"pulling {name}")
        if reason := pull([engine.program], name, build_variables.engine_proxies()):
            reason = innermost(reason)
            raise EngineBuildError(f"{engine.name} cannot pull {name} of {dockerfile.name}: {reason}")


def innermost(reason: str) -> str:
    """Return the last two clauses of an error of a Go program, which writes its steps from the outside in.

    "initializing source …: dial tcp: lookup registry on 10.0.0.2:53: no such host" becomes its end.
    """
    return ": ".join(reason.split(": ")[-2:])


def _bases(parsed: Dockerfile, arguments: Mapping[str, str]) -> dict[int, str]:
    """Return the base images by line, without stages. `arguments` are those of the command line."""
    values: dict[str, str] = {}
    for step in parsed.arguments:
        for word in step.words(values):
            name, equals, default = word.partition("=")
            if name in arguments or equals:
                values[name] = arguments.get(name, default)
    stages = {stage.name for stage in parsed.stages if stage.name}
    names = {stage.line: expand(stage.base, values, stage.escape, stage.line) for stage in parsed.stages}
    return {line: name for line, name in names.items() if name.lower() not in {*stages, "scratch"}}


def _parsed(dockerfile: Path) -> Dockerfile:
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EngineBuildError(f"{dockerfile} cannot be read: {error}.") from error
    return parse(text)


def build(
    engine: Engine,
    context: Path,
    dockerfile: Path,
    state_dir: Path,
    *,
    flags: Sequence[tuple[str, str]] = (),
    is_shown: bool,
) -> str:
    """Build an image with the engine and record it. Return its digest in the sandbox's registry, `sha256:…`.

    `flags` are further flags of `build`; one without a value has an empty one. With `is_shown`, the engine's
    output goes to this process's own. Raises SandboxError with the last lines of the engine.
    """
    arguments = dict(value.partition("=")[::2] for name, value in flags if name == "--build-arg")
    parsed = _parsed(dockerfile)
    engine_guard.require(parsed, _bases(parsed, arguments), engine.version)
    with tempfile.TemporaryDirectory(prefix="copilot-sandbox-image-") as folder:
        file, ignored = Path(folder) / "id", Path(folder) / "ignored"
        ignored.write_text(ignored_text(context, dockerfile), encoding="utf-8", errors="surrogateescape")
        command = [
            *(engine.program, "build", "--iidfile", str(file), "--label", f"{OWNER_LABEL}={state_dir}"),
            *(f"--ulimit={kind}={soft}:{hard}" for kind, soft, hard in limits()),
            *(f"{name}={value}" if value else name for name, value in flags),
            *("--ignorefile", str(ignored), "--file", str(dockerfile), str(context)),
        ]
        registries = Path(folder) / "registries.conf"
        registries.write_text(_REGISTRIES)
        with subprocess.Popen(
            command,
            env={
                **variables(),
                **child_variables.mark(),
                **build_variables.engine_proxies(),
                "CONTAINERS_REGISTRIES_CONF": str(registries),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            last: list[str] = []
            for line in process.stdout or ():
                if is_shown:
                    print(line, end="", flush=True)  # noqa: T201 - this is a program's output
                last = [*last, line.rstrip()][-_LAST_LINES:]
        if process.returncode:
            raise EngineBuildError(
                f"{engine.name} could not build the image of {dockerfile.name}:"
                + "".join(f"\n  {line}" for line in last if line)
            )
        return _record(engine, file.read_text().strip(), state_dir)


# Names without a registry are Docker Hub's, as for Docker.
_REGISTRIES = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'


class EngineBuildError(SandboxError):
    """The engine could not build the image; nothing was stored."""


def _record(engine: Engine, image: str, state_dir: Path) -> str:
    """Write config.json and manifest.json of an image of the engine. Return the manifest's digest."""
    try:
        found = engine.call("GET", f"/images/{image}/json")
    except EngineError as error:
        raise EngineBuildError(f"The image {image} was built but cannot be read: {error}.") from error
    given: dict[str, Any] = found["Config"]
    config = {
        "EngineId": image,
        "Env": dict(entry.partition("=")[::2] for entry in given.get("Env") or ()),
        "WorkingDir": given.get("WorkingDir") or "/",
        "Entrypoint": given.get("Entrypoint") or [],
        "Cmd": given.get("Cmd") or [],
        "Paths": [],
        "Venv": "",
    }
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": registry.MEDIA_TYPE,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": found.get("Size") or 0,
                "digest": image if image.startswith("sha256:") else f"sha256:{image}",
            },
            "layers": [],
        },
        sort_keys=True,
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    folder = state_dir / "images" / digest
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / "manifest.json", manifest)
    write_private(folder / "config.json", json.dumps(config))
    return f"sha256:{digest}"
