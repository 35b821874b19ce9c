"""A build context, the image that is made of it, and small wheels for it to install."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

from copilot_sandbox.images import build as builder
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.model import Image


def make_wheel(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"def main():\n    print('this is {name}')\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}={name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def make_source_archive(folder: Path, name: str) -> Path:
    """A source distribution with a build back end of its own, so that pip needs no setuptools for it."""
    wheel = make_wheel(folder / "parts", name)
    path = folder / f"{name}-1.0.tar.gz"
    project = '[build-system]\nrequires = []\nbuild-backend = "back"\nbackend-path = ["."]\n'
    back = (
        "import shutil\n\n\ndef build_wheel(folder, *_):\n"
        f"    shutil.copy('{wheel.name}', folder)\n    return '{wheel.name}'\n"
    )
    with tarfile.open(path, "w:gz") as archive:
        archive.add(wheel, f"{name}-1.0/{wheel.name}")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        for file, text in (("pyproject.toml", project), ("back.py", back), ("PKG-INFO", metadata)):
            member = tarfile.TarInfo(f"{name}-1.0/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


class Project:
    """A build context and what its last build said."""

    def __init__(self, folder: Path) -> None:
        self.context = folder / "context"
        self.state = folder / ".sandbox"
        self.context.mkdir()
        self.said: list[str] = []

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.put(name, text)

    def put(self, path: str, text: str = "") -> Path:
        file = self.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def build(
        self, dockerfile: str, *, arguments: dict[str, str] | None = None, target: str | None = None
    ) -> Image:
        self.said = []
        file = self.put("Dockerfile", dockerfile)
        digest = builder.build(
            self.context, file, self.state, say=self.said.append, arguments=arguments, target=target
        )
        image = ImageStore(self.state).load(digest)
        assert image is not None
        return image


def files(image: Image) -> list[str]:
    return sorted(
        f"/{each.relative_to(image.root)}"
        for each in image.root.rglob("*")
        if each.is_symlink() or each.is_file()
    )


def run(image: Image, program: str) -> str:
    assert image.venv is not None
    return subprocess.run([image.venv / "bin" / program], capture_output=True, text=True, check=True).stdout
