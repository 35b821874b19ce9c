"""Prepares a container of the nginx image: runs this machine's nginx, or a relay that replaces it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox.model import NGINX_CMD, NGINX_ENTRYPOINT, NGINX_VERSION, Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.model import Container

_PATHS = ("/etc/nginx", "/usr/share/nginx", "/var/cache/nginx", "/var/log/nginx")


@dataclass(frozen=True)
class Provided:
    """The folder of the programs, and a note for a user who waits for the container."""

    programs: Path
    note: str | None


def public(reference: str, directory: Path) -> Image:
    """Return nginx's own image, with the parts that a container needs."""
    return Image(
        digest="",
        root=directory / "no files",
        venv=None,
        env={NGINX_VERSION: reference.partition("@")[0].rpartition(":")[2]},
        workdir="/",
        entrypoint=NGINX_ENTRYPOINT,
        cmd=NGINX_CMD,
        paths=_PATHS,
    )


def program() -> str | None:
    """Return the path of this machine's nginx; None if there is none."""
    return shutil.which("nginx")


def provide(
    container: Container, image: Image, directory: Path, host: str | None, upstream: int | None
) -> Provided:
    """Write the programs of the image into the container's `directory`.

    `host` is the loopback address that replaces localhost, None in a network namespace. `upstream` is the
    port to which a relay sends everything. A relay replaces nginx if this machine has none, or if tasks
    have no network of their own, because every `listen` line of nginx would need another address.
    """
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    binary = program() if host is None else None
    note = None
    if binary is None and upstream is not None:
        reason = "tasks have no network of their own here" if host else "there is no nginx on PATH"
        note = (
            f"{reason}: a relay stands in for it and sends everything to port {upstream}, "
            "static files too" + ("" if host else " (Debian has it in /usr/sbin)")
        )
    config = {
        "nginx": binary,
        "root": str(directory / "root"),
        "paths": sorted({*_PATHS, *image.paths, *(mount.path for mount in container.mounts)}),
        "host": host or "",
        "ports": list(container.ports) or [80],
        "upstream": upstream,
        "note": note,
    }
    start = [sys.executable, "-I", "-S", str(Path(__file__).with_name("nginx_start.py")), json.dumps(config)]
    _write_script(programs / "nginx", f'exec {shlex.join(start)} "$@"')
    _write_script(
        programs / "docker-entrypoint.sh", 'case "${1-}" in -*) set -- nginx "$@" ;; esac\nexec "$@"'
    )
    return Provided(programs, note)


def upstream_of(containers: Sequence[Container], proxy: Container) -> int | None:
    """Return the service's port (the first other container's): a relay sends everything there."""
    return next((each.ports[0] for each in containers if each is not proxy and each.ports), None)


def _write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
