"""Refuses what a hostile Dockerfile could do to this machine through an engine.

An engine confines the steps of a build. Two things lead out of it: an image name with a transport, which
reads files of this machine, and in older versions of Podman a bind mount of another stage or image, whose
links it follows outside.
Sources: containers-transports(5); CVE-2024-1753, mended in Podman 4.9.4 and 5.0.1; CVE-2024-9675, of the ids
of cache mounts
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from copilot_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from copilot_sandbox.images.dockerfile import Dockerfile, Instruction

_MENDED = (4, 9, 4)
_MENDED_SERIES_5 = (5, 0, 1)
_TRANSPORT = re.compile(
    r"(containers-storage|dir|docker|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):",
    re.IGNORECASE,
)
_CACHE_ID = re.compile(r"[A-Za-z0-9_./-]*")


class UnsafeDockerfileError(SandboxError):
    """The engine does not build this Dockerfile; nothing was built."""


def require(dockerfile: Dockerfile, bases: Mapping[int, str], version: Sequence[int]) -> None:
    """Raise UnsafeDockerfileError where a Dockerfile reaches files of this machine.

    `bases` are the base images by line, with variables substituted. `version` is the engine's.
    """
    for line, name in bases.items():
        _require_image(name, line)
    for stage in dockerfile.stages:
        for step in stage.instructions:
            for name, value in step.flags:
                if name == "from":
                    _require_image(value, step.line)
                elif name == "mount":
                    _require_mount(step, value, tuple(version))


def _require_image(name: str, line: int) -> None:
    transport = _TRANSPORT.match(name)
    if transport and (transport[1].lower() != "docker" or "/" in name):  # `docker:27-cli` is an image
        raise UnsafeDockerfileError(
            f"Dockerfile line {line}: {name} names an image by a transport, which can read files of this "
            "machine. Name an image of a registry."
        )
    if "$" in name:
        raise UnsafeDockerfileError(
            f"Dockerfile line {line}: {name}: the name of an image has a variable without a value here."
        )


def _require_mount(step: Instruction, value: str, version: tuple[int, ...]) -> None:
    options = dict(part.partition("=")[::2] for part in value.split(","))
    kind, source = options.get("type", "bind"), options.get("from")
    if source is not None:
        _require_image(source, step.line)
    mended = version >= (_MENDED_SERIES_5 if version[:1] == (5,) else _MENDED)
    if mended:
        return
    if kind == "bind" and source is not None:
        raise UnsafeDockerfileError(
            f"Dockerfile line {step.line}: Podman {'.'.join(map(str, version))} lets a bind mount of another "
            "stage or image read files of this machine (CVE-2024-1753). Use COPY --from, or install Podman "
            "4.9.4 or later, or set SANDBOX_CONTAINERS=processes."
        )
    identity = options.get("id", "")
    if kind == "cache" and (".." in identity or not _CACHE_ID.fullmatch(identity)):
        raise UnsafeDockerfileError(
            f"Dockerfile line {step.line}: the id of the cache mount, {identity}, is not a plain name."
        )
