"""Where built images lie: `images/<digest>/` holds manifest.json, config.json and the files below root/."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

from copilot_sandbox import scratch
from copilot_sandbox.images import pip_targets
from copilot_sandbox.images.registry import pushed
from copilot_sandbox.images.venv_cache import forget_unused, use, venv_folder
from copilot_sandbox.model import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from copilot_sandbox.images.tree import Tree

UNFINISHED = "unfinished"  # the folder of images that are being written
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def save(state_dir: Path, tree: Tree, config: dict[str, object], packages: Mapping[str, Path]) -> str:
    """Store an image unless it is there already; returns its digest, `sha256:…`.

    The digest is that of the manifest, which names config and files by their own digests: equal content
    has an equal digest, and a registry works out the same one. `packages` are folders of this machine, by the
    path of the image that leads to them.
    """
    settings = _canonical(config)
    listing = _canonical(tree.listing())
    manifest = _canonical(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE,
            "config": _blob("application/vnd.docker.container.image.v1+json", settings),
            "layers": [_blob("application/vnd.docker.image.rootfs.diff.tar.gzip", listing)],
        }
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    images = state_dir / "images"
    images.mkdir(parents=True, exist_ok=True)
    images.chmod(0o700)  # files keep no stricter modes of their own in here
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
    """Rename a folder into place; where another build was first, its equal one stays."""
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
    """The images of one sandbox, as the task agent asks for them."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def find(self, reference: str) -> Image | None:
        """Return the image that was pushed as `repo@sha256:…` or `repo:tag`; None where there is none."""
        digest = pushed(self.state_dir, reference)
        return None if digest is None else self.load(digest)

    def load(self, digest: str) -> Image | None:
        """Return the image of that digest, pushed or not; None where it, or its environment, is gone."""
        folder = self.state_dir / "images" / digest.removeprefix("sha256:")
        try:
            config = json.loads((folder / "config.json").read_text())
        except FileNotFoundError:
            return None
        venv = venv_folder(self.state_dir, config["Venv"]) if config["Venv"] else None
        if venv is not None and not use(venv):
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
        )

    def prune(self, keep: Iterable[str], newest: int = 10) -> int:
        """Remove all images but those in `keep` (digests) and the newest; returns how many went.

        An image costs a copy of its files, an environment what pip installs (Django: some 60 MB); an
        environment, which other clones may use too, goes when it was not used for a month. Must not run
        beside a build.
        """
        images = self.state_dir / "images"
        scratch.clear(images / UNFINISHED)
        stored = sorted(images.glob("*/config.json"), key=lambda each: each.stat().st_mtime, reverse=True)
        wanted = {digest.removeprefix("sha256:") for digest in keep} | {
            each.parent.name for each in stored[:newest]
        }
        for each in stored:
            if each.parent.name not in wanted:
                shutil.rmtree(each.parent, ignore_errors=True)
        used = {json.loads((images / name / "config.json").read_text())["Venv"] for name in wanted}
        forget_unused(self.state_dir / "venvs", used)
        for each in (*(images / "tags").glob("*"), *(self.state_dir / "registry").glob("*/*")):
            if each.read_text().removeprefix("sha256:") not in wanted:
                each.unlink()
        return sum(each.parent.name not in wanted for each in stored)
