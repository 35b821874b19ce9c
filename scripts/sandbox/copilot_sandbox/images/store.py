"""Stores built images: `images/<digest>/` has manifest.json, config.json and the files below root/."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox import scratch
from copilot_sandbox.images import pip_targets, registry
from copilot_sandbox.images.registry import pushed
from copilot_sandbox.images.venv_cache import delete_unused, mark_used, venv_folder
from copilot_sandbox.model import Image, StartCommand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from copilot_sandbox.images.tree import Tree

UNFINISHED = "unfinished"  # the folder of images that are being written


def save(state_dir: Path, tree: Tree, config: dict[str, object], packages: Mapping[str, Path]) -> str:
    """Store an image if it is not stored yet. Return its digest, `sha256:…`.

    The digest is the manifest's, which contains the digests of config and files. Equal content therefore has
    an equal digest, and a registry computes the same one. `packages` maps image paths to the
    folders of this machine that they link to.
    """
    settings = _canonical(config)
    listing = _canonical(tree.listing())
    manifest = _canonical(
        {
            "schemaVersion": 2,
            "mediaType": registry.MEDIA_TYPE,
            "config": _blob("application/vnd.docker.container.image.v1+json", settings),
            "layers": [_blob("application/vnd.docker.image.rootfs.diff.tar.gzip", listing)],
        }
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    images = state_dir / "images"
    images.mkdir(parents=True, exist_ok=True)
    images.chmod(0o700)  # files below get no stricter modes of their own
    if not (images / digest).exists():
        (images / UNFINISHED).mkdir(exist_ok=True)
        with scratch.folder(images / UNFINISHED, "image-") as unfinished:
            (unfinished / "root").mkdir()
            tree.write(unfinished / "root")
            (unfinished / "config.json").write_text(settings)
            (unfinished / "manifest.json").write_text(manifest)
            _rename(unfinished, images / digest)
    for path, folder in packages.items():
        pip_targets.link(images / digest / "root", path, folder)
    return f"sha256:{digest}"


def _rename(source: Path, target: Path) -> None:
    """Rename a folder into place. If another build was faster, its equal folder remains."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _canonical(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _blob(media_type: str, text: str) -> dict[str, object]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"mediaType": media_type, "size": len(text), "digest": f"sha256:{digest}"}


class ImageStore:
    """The images of one sandbox, for the task agent."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def find(self, reference: str) -> Image | None:
        """Return the image that was pushed as `repo@sha256:…` or `repo:tag`; None if there is none."""
        digest = pushed(self.state_dir, reference)
        return None if digest is None else self.load(digest)

    def load(self, digest: str) -> Image | None:
        """Return the image with that digest, pushed or not; None if it or its environment is missing."""
        folder = self.state_dir / "images" / digest.removeprefix("sha256:")
        try:
            config = json.loads((folder / "config.json").read_text())
        except FileNotFoundError:
            return None
        venv = venv_folder(self.state_dir, config["Venv"]) if config["Venv"] else None
        if venv is not None and not mark_used(venv):
            return None
        return Image(
            digest=digest,
            root=folder / "root",
            venv=venv,
            env=config["Env"],
            workdir=config["WorkingDir"],
            entrypoint=tuple(config["Entrypoint"]),
            cmd=tuple(config["Cmd"]),
            paths=tuple(config["Paths"]),
            engine_id=config.get("EngineId", ""),
            python=Path(config["Python"]) if "Python" in config else None,
            start_commands=tuple(
                StartCommand(**{**each, "words": tuple(each["words"])})
                for each in config.get("StartCommands", ())
            ),
        )

    def prune(self, keep: Iterable[str], newest: int = 10) -> int:
        """Delete all images except those in `keep` (digests) and the newest. Return their number.

        An image takes a copy of its files; an environment takes its packages (Django: about 60 MB). Other
        clones may use an environment too, so it is deleted only after a month without use. Must not run
        during a build.
        """
        images = self.state_dir / "images"
        scratch.clear(images / UNFINISHED)
        stored = sorted(images.glob("*/config.json"), key=lambda config: config.stat().st_mtime, reverse=True)
        wanted = {digest.removeprefix("sha256:") for digest in keep} | {
            config.parent.name for config in stored[:newest]
        }
        for config in stored:
            if config.parent.name not in wanted:
                shutil.rmtree(config.parent, ignore_errors=True)
        used = {json.loads((images / name / "config.json").read_text())["Venv"] for name in wanted}
        delete_unused(self.state_dir / "venvs", used)
        for config in (*(images / "tags").glob("*"), *(self.state_dir / "registry").glob("*/*")):
            if config.read_text().removeprefix("sha256:") not in wanted:
                config.unlink()
        return sum(config.parent.name not in wanted for config in stored)
