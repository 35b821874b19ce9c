"""Read the facts that `adopt` needs about a project. Nothing is written here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from copilot_testenv.adopt import stamps
from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.manifest import Build
from copilot_testenv.core import git, settings_module, workspace_files
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from copilot_testenv.core.process import Shell, output_of
from copilot_testenv.core.settings import SERVICE_TYPE

_SETTINGS_IN_DOCKERFILE = re.compile(r"""DJANGO_SETTINGS_MODULE[= ]['"]?([\w.]+)""")
# The requirements of these tasks: they do not say what the project installs.
_TASKS_REQUIREMENTS = {
    "requirements-testenv.txt",
    "requirements-testenv-deploy.txt",
    "requirements-sandbox.txt",
    "requirements-deploy.txt",
}
# The first line of what a version without stamps wrote; in the settings, its lines reach to the end.
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
        """Return a file's content; None if there is no such file. Raises Refused for a path behind a link."""
        try:
            self.require_no_link(path)
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{self.root / path} cannot be read: {error.strerror}.") from error

    def text(self, path: str) -> str | None:
        """Return a file's content as text. Raises as `bytes` does, and SettingsError if it is not UTF-8."""
        content = self.bytes(path)
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{self.root / path} is not UTF-8: {error}.") from error

    def require_no_link(self, path: str) -> None:
        """Raise Refused if the path leads out of the project, or over a link, which may lead anywhere."""
        parts = PurePosixPath(path).parts
        if "\0" in path or PurePosixPath(path).is_absolute() or ".." in parts:
            raise Refused(f"{path!r} does not stay below {self.root}: name a path within it.")
        place = self.root
        for part in parts:
            place /= part
            if place.is_symlink():
                raise Refused(f"{place} is a link, and links are not followed: replace it by a real file.")

    def listed(self, folder: str) -> list[str]:
        """Return the names of a folder's files, sorted; empty if there is no such folder."""
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
        """Return the manifest's block for the test environment; None if it has no block."""
        blocks = self.manifest.get("environments")
        block = blocks.get(self.test_env) if isinstance(blocks, dict) else None
        return block if isinstance(block, dict) else None

    @property
    def has_listener(self) -> bool:
        """Return True if the load balancer has a listener rule for the service in every environment.

        Source: `ALBListener` in templates/workloads/services/lb-web/cf.yml of aws/copilot-cli 1.34.
        """
        blocks = self.manifest.get("environments")
        of_blocks = blocks.values() if isinstance(blocks, dict) else ()
        return isinstance(self.manifest.get("http"), dict) and not any(
            isinstance(block, dict) and block.get("http") is False for block in of_blocks
        )

    @cached_property
    def build(self) -> Build:
        """Return the build of the service's image. Raises SettingsError if no image is built."""
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
        """Return the settings module of the container. Raises SettingsError if no file names it."""
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
        """Return the path of the settings module. Raises SettingsError if there is no such file."""
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
        """Return the settings and those they import (`from .base import *`), without our block, as text."""
        folder = PurePosixPath(self.settings_path).parent
        texts, todo, seen = [self.settings_text], [self.settings_text], set()
        while todo:
            for name in _MORE_SETTINGS.findall(todo.pop()):
                if name not in seen:
                    seen.add(name)
                    more = self.text(str(folder / f"{name}.py")) or ""
                    texts.append(more)
                    todo.append(more)
        return "\n".join(map(_without_block, texts))

    @cached_property
    def required(self) -> str:
        """Return the text of all files that name the project's packages, in which to search for names."""
        names = sorted(
            str(file.relative_to(self.root))
            for pattern in ("*requirements*.txt", "*requirements*.in", "requirements/*.txt")
            for file in self.root.glob(pattern)
            if not file.is_symlink() and file.name not in _TASKS_REQUIREMENTS
        )
        texts = [self.text(name) or "" for name in (*names, "pyproject.toml", "Pipfile")]
        texts.append(_without_block(self.text(self.dockerfile) or ""))
        return "\n".join(texts)


def _without_block(text: str) -> str:
    """Return settings or a Dockerfile without the lines that `adopt` wrote there."""
    plain = text.replace("\r\n", "\n")
    if found := stamps.find(plain):
        plain = plain[: found.start] + plain[found.end :]
    return plain.partition(UNSTAMPED_SETTINGS)[0].partition(UNSTAMPED_DOCKERFILE)[0]


def look(shell: Shell, root: Path, service: str, test_env: str) -> Project:
    """Return the project. Raises Refused if `root` is not a repository, SettingsError if not a workspace."""
    top = shell.run(git.command(root, "rev-parse", "--show-toplevel"))
    if not top.ok:
        raise Refused(
            f"{root} is not a Git repository, so changes could not be undone: run `git init` and commit."
        )
    if not (root / "copilot/.workspace").is_file():
        raise SettingsError(
            f"{root} is not a Copilot workspace: it has no copilot/.workspace. `copilot app init` and "
            "`copilot svc init` make one."
        )
    if not (root / "manage.py").is_file():
        raise SettingsError(
            f"{root} has no manage.py beside copilot/: docs/adopt.md says what to do by hand."
        )
    return Project(root, _service(root, service), test_env)


def _service(root: Path, wanted: str) -> str:
    found = sorted(
        name
        for name, file in workspace_files.services(root).items()
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
    """Raise Refused if Git ignores a file to be written: a deployment contains only committed files."""
    found = shell.run(git.command(project.root, "check-ignore", "--", *paths))
    if ignored := sorted(found.stdout.splitlines()):
        raise Refused(
            f"Git ignores {', '.join(ignored)} in {project.root}, but only committed files are deployed: "
            "remove the pattern from .gitignore, or add an exception (`git check-ignore -v` names it)."
        )


def require_committed(shell: Shell, project: Project, paths: list[str]) -> None:
    """Raise Refused if a file that would be edited is not committed, or has changes since."""
    if not paths:
        return
    exactly = "--literal-pathspecs"  # a star in a name is not a pattern
    listed = output_of(
        shell, git.command(project.root, exactly, "ls-files", "-z", "--", *paths), "Listing what Git has"
    )
    unknown = sorted(set(paths) - set(listed.split("\0")))
    if unknown:
        raise Refused(
            f"{', '.join(unknown)} in {project.root} would be edited and is not in Git (it is ignored, or "
            "was never added): commit it first (`git add --force`), so that it can be restored."
        )
    found = shell.run(git.command(project.root, exactly, "status", "--porcelain", "--", *paths))
    if not found.ok or found.stdout.strip():
        names = ", ".join(line[3:] for line in found.stdout.splitlines()) or ", ".join(paths)
        raise Refused(
            f"{names} in {project.root} would be edited and has changes that are not committed: commit or "
            "stash them first, so that they do not mix with the changes made here."
        )
