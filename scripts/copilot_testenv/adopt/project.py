"""The project that adopts: what of it matters here, read once. Nothing is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from copilot_testenv.adopt import stamps
from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.manifest import Build
from copilot_testenv.core import git, settings_module
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from copilot_testenv.core.process import Shell, output_of
from copilot_testenv.core.settings import SERVICE_TYPE

_SETTINGS_IN_DOCKERFILE = re.compile(r"""DJANGO_SETTINGS_MODULE[= ]['"]?([\w.]+)""")
# The pins of these tasks, which say nothing of what the project installs.
_OURS = {
    "requirements-testenv.txt",
    "requirements-testenv-deploy.txt",
    "requirements-sandbox.txt",
    "requirements-deploy.txt",
}
# What a version before stamps began its lines with; in the settings they went on to the end.
UNSTAMPED_DOCKERFILE = "# Test environments (invoke adopt)"
UNSTAMPED_SETTINGS = "# Test environments: added by `invoke adopt`, once"
_MORE_SETTINGS = re.compile(r"^from \.(\w+) import \*", re.MULTILINE)


@dataclass(frozen=True)
class Project:
    """A repository with a Django project and Copilot manifests. All paths are relative to `root`."""

    root: Path
    service: str
    test_env: str

    def bytes(self, path: str) -> bytes | None:
        """A file's content, None where there is none. Raises Refused for what lies behind a link."""
        try:
            self.require_no_link(path)
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{self.root / path} cannot be read: {error.strerror}.") from error

    def text(self, path: str) -> str | None:
        """The same as text. Raises SettingsError where it is not UTF-8."""
        content = self.bytes(path)
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{self.root / path} is not UTF-8: {error}.") from error

    def require_no_link(self, path: str) -> None:
        """Raises Refused where the path leads out of the project, or over a link: that may lead anywhere."""
        parts = PurePosixPath(path).parts
        if "\0" in path or PurePosixPath(path).is_absolute() or ".." in parts:
            raise Refused(f"{path!r} does not stay below {self.root}: name a path within it.")
        place = self.root
        for part in parts:
            place /= part
            if place.is_symlink():
                raise Refused(f"{place} is a link, and nothing is written behind one: make it a real one.")

    def listed(self, folder: str) -> list[str]:
        """Return the names of a folder's files, sorted; none where there is no folder."""
        self.require_no_link(folder)
        place = self.root / folder
        return sorted(file.name for file in place.iterdir()) if place.is_dir() else []

    @property
    def environment_path(self) -> str:
        return f"copilot/environments/{self.test_env}/manifest.yml"

    @property
    def manifest_path(self) -> str:
        return f"copilot/{self.service}/manifest.yml"

    @cached_property
    def manifest_text(self) -> str:
        return self.text(self.manifest_path) or ""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return manifest.parse(self.manifest_text, str(self.root / self.manifest_path))

    @cached_property
    def test_block(self) -> dict[str, Any] | None:
        """What the manifest says of the test environment; None where it says nothing."""
        blocks = self.manifest.get("environments")
        block = blocks.get(self.test_env) if isinstance(blocks, dict) else None
        return block if isinstance(block, dict) else None

    @property
    def has_listener(self) -> bool:
        """Whether the load balancer listens for the service in every environment.

        Source: `ALBListener` in templates/workloads/services/lb-web/cf.yml of aws/copilot-cli 1.34.
        """
        blocks = self.manifest.get("environments")
        of_blocks = blocks.values() if isinstance(blocks, dict) else ()
        return isinstance(self.manifest.get("http"), dict) and not any(
            isinstance(block, dict) and block.get("http") is False for block in of_blocks
        )

    @cached_property
    def build(self) -> Build:
        """What the service's image is built from. Raises SettingsError where none is built."""
        return manifest.build_of(self.manifest, str(self.root / self.manifest_path))

    @property
    def dockerfile(self) -> str:
        return self.build.dockerfile

    @property
    def port(self) -> int:
        image = self.manifest.get("image")
        port = image.get("port") if isinstance(image, dict) else None
        return port if isinstance(port, int) else 8000

    @cached_property
    def settings_module(self) -> str:
        """The settings that run in the container. Raises SettingsError where nothing names them."""
        for holder in (self.test_block or {}, self.manifest):
            variables = holder.get("variables")
            named = variables.get("DJANGO_SETTINGS_MODULE") if isinstance(variables, dict) else None
            if isinstance(named, str):
                return named
        of_image = _SETTINGS_IN_DOCKERFILE.search(self.text(self.dockerfile) or "")
        found = of_image[1] if of_image else settings_module.of_manage(self.text("manage.py") or "")
        if found:
            return found
        raise SettingsError(
            f"Neither {self.root / 'manage.py'} nor the Dockerfile nor the manifest names "
            "DJANGO_SETTINGS_MODULE: name it in one of them."
        )

    @cached_property
    def settings_path(self) -> str:
        """The file of the settings. Raises SettingsError where it is not there."""
        stem = self.settings_module.replace(".", "/")
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if self.bytes(path) is not None:
                return path
        raise SettingsError(f"The settings {self.settings_module} are not at {self.root / stem}.py.")

    @cached_property
    def settings_text(self) -> str:
        return self.text(self.settings_path) or ""

    @cached_property
    def all_settings(self) -> str:
        """The settings, with those that they take over (`from .base import *`), without our lines."""
        folder = PurePosixPath(self.settings_path).parent
        texts, todo, seen = [self.settings_text], [self.settings_text], set()
        while todo:
            for name in _MORE_SETTINGS.findall(todo.pop()):
                if name not in seen:
                    seen.add(name)
                    more = self.text(str(folder / f"{name}.py")) or ""
                    texts.append(more)
                    todo.append(more)
        return "\n".join(map(_theirs, texts))

    @cached_property
    def required(self) -> str:
        """Everything that says what the project installs, as text to look for names in."""
        names = sorted(
            str(file.relative_to(self.root))
            for pattern in ("*requirements*.txt", "*requirements*.in", "requirements/*.txt")
            for file in self.root.glob(pattern)
            if not file.is_symlink() and file.name not in _OURS
        )
        found = [self.text(name) or "" for name in (*names, "pyproject.toml", "Pipfile")]
        found.append(_theirs(self.text(self.dockerfile) or ""))
        return "\n".join(found)


def _theirs(text: str) -> str:
    """Return settings, or a Dockerfile, without what `adopt` has written there."""
    plain = text.replace("\r\n", "\n")
    if found := stamps.find(plain):
        plain = plain[: found.start] + plain[found.end :]
    return plain.partition(UNSTAMPED_SETTINGS)[0].partition(UNSTAMPED_DOCKERFILE)[0]


def look(shell: Shell, root: Path, service: str, test_env: str) -> Project:
    """Find the project. Raises Refused where it is no repository, SettingsError where it is no workspace."""
    top = shell.run(git.command(root, "rev-parse", "--show-toplevel"))
    if not top.ok:
        raise Refused(
            f"{root} is no Git repository, so nothing that goes wrong there could be undone: `git init` and "
            "commit it first."
        )
    if not (root / "copilot/.workspace").is_file():
        raise SettingsError(
            f"{root} has no copilot/.workspace: it is no Copilot workspace. `copilot app init` and `copilot "
            "svc init` make one."
        )
    if not (root / "manage.py").is_file():
        raise SettingsError(
            f"{root} has no manage.py beside copilot/: docs/adopt.md says what to do by hand."
        )
    return Project(root, _service(root, service), test_env)


def _service(root: Path, wanted: str) -> str:
    found = sorted(
        file.parent.name
        for file in (root / "copilot").glob("*/manifest.yml")
        if manifest.read(file).get("type") == SERVICE_TYPE
    )
    if wanted:
        if wanted not in found:
            raise SettingsError(
                f"{root} has no {SERVICE_TYPE} called {wanted!r}: it has {', '.join(found) or 'none'}."
            )
        return wanted
    if not found:
        raise SettingsError(f"{root} has no {SERVICE_TYPE}: `copilot svc init` makes one.")
    if len(found) > 1:
        raise UsageError(f"Which service? Write --service with one of {', '.join(found)}.")
    return found[0]


def require_not_ignored(shell: Shell, project: Project, paths: list[str]) -> None:
    """Raises Refused where Git would not take a file to be written: what is deployed is a commit."""
    found = shell.run(git.command(project.root, "check-ignore", "--", *paths))
    if ignored := sorted(found.stdout.splitlines()):
        raise Refused(
            f"Git ignores {', '.join(ignored)} in {project.root}, and what is deployed is a commit: take the "
            "pattern out of .gitignore, or add an exception (`git check-ignore -v` names it)."
        )


def require_committed(shell: Shell, project: Project, paths: list[str]) -> None:
    """Raises Refused where a file that would be edited is not in Git as it stands."""
    if not paths:
        return
    exactly = "--literal-pathspecs"  # a star in a name is a star
    listed = output_of(
        shell, git.command(project.root, exactly, "ls-files", "-z", "--", *paths), "Listing what Git has"
    )
    unknown = sorted(set(paths) - set(listed.split("\0")))
    if unknown:
        raise Refused(
            f"{', '.join(unknown)} in {project.root} would be edited and is not in Git, which ignores it or "
            "was never given it: commit it first (`git add --force`), so that it can be brought back."
        )
    found = shell.run(git.command(project.root, exactly, "status", "--porcelain", "--", *paths))
    if not found.ok or found.stdout.strip():
        names = ", ".join(line[3:] for line in found.stdout.splitlines()) or ", ".join(paths)
        raise Refused(
            f"{names} in {project.root} would be edited and has changes that are not committed: commit or "
            "stash them first, so that what is added here can be told from them."
        )
