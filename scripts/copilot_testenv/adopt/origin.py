"""Get the files and wheels for a project from a clone of these tasks, an installed wheel, or an address."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import copilot_testenv
from copilot_testenv.core import cache, child_variables, scratch
from copilot_testenv.core.errors import Failed, Refused, UsageError
from copilot_testenv.core.process import Command, Shell, output_of

# Each distribution with its folder in a clone.
PARTS = {"copilot-testenv": ".", "copilot-sandbox": "scripts/sandbox", "django-testenv": "scripts/runtime"}
_BUILT_FROM = (
    "tasks.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.txt",
    "requirements-sandbox.txt",
    "demo/requirements.txt",
)
_BUILD_SECONDS = 300.0
_SHIPPED = "shipped"  # the wheel's folder with the clone's files that `text` reads


@dataclass(frozen=True)
class Origin:
    """The source of the files. `clone` is its top folder, None if installed; `address` is that of --from."""

    shell: Shell
    clone: Path | None
    address: str = ""

    def text(self, name: str) -> str:
        """Return the text of a file of these tasks: pinned requirements, or Copilot's override patches."""
        if self.clone:
            return (self.clone / name).read_text(encoding="utf-8")
        return (resources.files(copilot_testenv) / _SHIPPED / name).read_text(encoding="utf-8")

    def wheels(self) -> dict[str, bytes]:
        """Return the three wheels by file name. They are built once for each state of the clone.

        Raises Refused where there is neither a clone nor an address, Failed where pip cannot make them.
        """
        if self.address:
            return self._run_pip(*_from_address(self.address))
        if self.clone is None:
            raise Refused(
                "No wheels can be built: these tasks are installed, and this is not a clone of them. Run it "
                "in a clone, or name an index or a Git address with --from."
            )
        try:
            cached = cache.folder("wheels") / _digest(self.clone)
        except OSError as error:
            raise Failed(f"The wheels cannot be kept: {error}.") from error
        if not cache.use(cached):
            _store(self._run_pip("wheel", *(str(self.clone / folder) for folder in PARTS.values())), cached)
        return {file.name: file.read_bytes() for file in sorted(cached.glob("*.whl"))}

    def _run_pip(self, verb: str, *what: str) -> dict[str, bytes]:
        """Return the wheels that `pip wheel` or `pip download` makes of these requirements."""
        with scratch.temporary("wheels-") as folder:
            words = (sys.executable, "-m", "pip", verb, "--quiet", "--no-deps", "--disable-pip-version-check")
            into = "--wheel-dir" if verb == "wheel" else "--dest"
            command = Command(
                (*words, into, str(folder), *what),
                cwd=folder,
                timeout=_BUILD_SECONDS,
                inherits=(*child_variables.NETWORK, *child_variables.GIT, "PIP_*"),
            )
            output_of(self.shell, command, "Making the wheels")
            return {file.name: file.read_bytes() for file in sorted(folder.glob("*.whl"))}


def _from_address(address: str) -> Iterator[str]:
    """Yield pip's subcommand and arguments. Raises UsageError if it is neither an index nor a Git address."""
    if address.startswith("git+"):
        yield "wheel"
        for name, folder in PARTS.items():
            yield f"{name} @ {address}#subdirectory={folder}"
    elif address.startswith(("https://", "http://", "file://")):
        yield from ("download", "--only-binary=:all:", "--index-url", address)
        yield from (f"{name}=={copilot_testenv.__version__}" for name in PARTS)
    else:
        raise UsageError(
            f"--from {address}: write the address of an index (https://…), or of a Git repository (git+https://…)."
        )


def require_addresses(wheels: Mapping[str, bytes]) -> Mapping[str, str]:
    """Return the file name of each distribution's wheel. Raises Refused where one is missing."""
    found = {name.split("-")[0].replace("_", "-"): name for name in wheels}
    if missing := PARTS.keys() - found.keys():
        raise Refused(f"There is no wheel of {', '.join(sorted(missing))}: nothing was written.")
    return found


def _digest(clone: Path) -> str:
    """Return a digest of all files that the wheels are built from."""
    digest = hashlib.sha256()
    files = [clone / name for name in _BUILT_FROM]
    files += [file for name in ("scripts", "copilot", "docs") for file in sorted((clone / name).rglob("*"))]
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(clone)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _store(wheels: Mapping[str, bytes], folder: Path) -> None:
    """Write the wheels for later runs; another run may do so at the same time. Raises Failed."""
    try:
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix="draft-"))
        for name, content in wheels.items():
            (draft / name).write_bytes(content)
        try:
            draft.rename(folder)
        except OSError:
            shutil.rmtree(draft)
            if not folder.is_dir():
                raise
    except OSError as error:
        raise Failed(f"The wheels cannot be kept in {folder}: {error.strerror}.") from error
