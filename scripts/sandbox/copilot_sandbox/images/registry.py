"""The digest of a tag: on this machine after `docker build`, and for ECS after `docker push`.

    images/tags/<reference>                   `docker build -t`: the tag's present digest
    registry/<repository>/<tag>, @<digest>    `docker push`: the images that ECS may pull

Every call of `docker` is a process that imports this module, so it imports nothing slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from copilot_sandbox.private import write_private

if TYPE_CHECKING:
    from pathlib import Path


MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def split_reference(reference: str) -> tuple[str, str]:
    """Split `repo:tag` or `repo@sha256:…` into (repo, tag or digest). No tag means `latest`."""
    repository, at, digest = reference.partition("@")
    if at:
        return repository, digest
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def tag(state_dir: Path, reference: str, digest: str) -> None:
    """Assign `repo:tag` to this image, as `docker build -t` does."""
    _write(state_dir / "images" / "tags" / quote(":".join(split_reference(reference)), safe=""), digest)


def tagged(state_dir: Path, reference: str) -> str | None:
    """Return the digest of `repo:tag` on this machine."""
    return _read(state_dir / "images" / "tags" / quote(":".join(split_reference(reference)), safe=""))


def manifest(state_dir: Path, digest: str) -> str:
    """Return the image's manifest as text. Raises FileNotFoundError if the image does not exist."""
    return (state_dir / "images" / digest.removeprefix("sha256:") / "manifest.json").read_text()


def record_push(state_dir: Path, reference: str, digest: str) -> None:
    repository, name = split_reference(reference)
    folder = state_dir / "registry" / quote(repository, safe="")
    _write(folder / f"@{digest.removeprefix('sha256:')}", digest)
    _write(folder / quote(name, safe=""), digest)


def pushed(state_dir: Path, reference: str) -> str | None:
    """Return the digest of a pushed `repo:tag` or `repo@sha256:…`; None if it was never pushed."""
    repository, name = split_reference(reference)
    if name.startswith("sha256:"):
        name = "@" + name.removeprefix("sha256:")
    return _read(state_dir / "registry" / quote(repository, safe="") / quote(name, safe="@"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, text)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
