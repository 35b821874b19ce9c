"""Read the facts that `adopt` needs about a project. Nothing is written here."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from copilot_testenv.adopt import stages, stamps
from copilot_testenv.copilot import inherited, manifest
from copilot_testenv.copilot.manifest import Build
from copilot_testenv.core import git, settings_module, workspace_files
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from copilot_testenv.core.process import Shell
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
_MORE_SETTINGS = re.compile(r"^from (\.*)([\w.]+) import \*", re.MULTILINE)


@dataclass(frozen=True)
class Project:
    """A repository with a Django project and Copilot manifests.

    `root` is the folder of copilot/, `top` that of the repository, and `django` the path of the folder of
    manage.py. All paths are relative to `root`; one with `..` leads to another folder of the repository.
    """

    root: Path
    service: str
    test_env: str
    top: Path
    django: str = "."
    media: tuple[str, ...] = ()  # staging's buckets that a branch reads

    def bytes(self, path: str) -> bytes | None:
        """Return a file's content; None if there is no such file. Raises Refused for a path behind a link."""
        try:
            self.require_no_link(path)
            return self.place(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
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

    def _words(self, path: str) -> str:
        """Return a file's text to look for names in, in the encoding that its first bytes show.

        PowerShell writes UTF-16 (`pip freeze > requirements.txt`), and pip reads it.
        """
        content = self.bytes(path) or b""
        return content.decode(json.detect_encoding(content), "replace")

    def require_no_link(self, path: str) -> None:
        """Raise Refused if the path leads out of the repository, or over a link, which may lead anywhere."""
        place = self.place(path)
        if "\0" in path or PurePosixPath(path).is_absolute() or not place.is_relative_to(self.top):
            raise Refused(f"{path!r} does not stay below {self.top}: name a path within it.")
        step = self.top
        for part in place.relative_to(self.top).parts:
            step /= part
            if step.is_symlink():
                raise Refused(f"{step} is a link, and links are not followed: replace it by a real file.")

    def place(self, path: str) -> Path:
        """Return a path's place on this machine, without `..`."""
        return Path(posixpath.normpath(self.root / path))

    def below_manage(self, path: str) -> str:
        """Return the path of a file that lies at `path` beside manage.py."""
        return posixpath.normpath(posixpath.join(self.django, path))

    def in_context(self, path: str, context: str) -> str:
        """Return a path relative to a build context; it begins with `..` if the context does not have it."""
        return posixpath.relpath(self.place(path), self.place(context))

    def listed(self, folder: str) -> list[str]:
        """Return the names of a folder's files, sorted; empty if there is no such folder."""
        self.require_no_link(folder)
        place = self.place(folder)
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
        """Return the build of the service's image in the test environment.

        Raises SettingsError if no image is built.
        """
        where = str(self.root / self.manifest_path)
        of_test = (self.test_block or {}).get("image")
        of_test = of_test if isinstance(of_test, dict) and manifest.build(of_test.get("build")) else None
        found = of_test or inherited.image(self.manifest, self.test_env)
        return normal(manifest.build_of({"image": found} if found else self.manifest, where))

    @property
    def dockerfile(self) -> str:
        return self.build.dockerfile

    @property
    def port(self) -> int:
        lent = inherited.image(self.manifest, self.test_env)
        image = self.manifest.get("image")
        port = (image.get("port") if isinstance(image, dict) else None) or lent.get("port")
        return port if isinstance(port, int) else 8000

    @cached_property
    def settings_module(self) -> str:
        """Return the settings module of the container. Raises SettingsError if no file names it."""
        lent = inherited.variables(self.manifest, self.test_env)
        for variables in ((self.test_block or {}).get("variables"), self.manifest.get("variables"), lent):
            named = variables.get("DJANGO_SETTINGS_MODULE") if isinstance(variables, dict) else None
            if isinstance(named, str):
                return named
        of_image = _SETTINGS_IN_DOCKERFILE.search(self.text(self.dockerfile) or "")
        of_manage = settings_module.of_manage(self.text(self.below_manage("manage.py")) or "")
        found = of_image[1] if of_image else of_manage
        if found:
            return found
        raise SettingsError(
            f"Neither {self.place(self.below_manage('manage.py'))} nor the Dockerfile nor the manifest names "
            "DJANGO_SETTINGS_MODULE: name it in one of them."
        )

    @cached_property
    def settings_path(self) -> str:
        """Return the path of the settings module. Raises SettingsError if there is no such file."""
        stem = self.settings_module.replace(".", "/")
        for folder in (".", "src"):
            for path in (posixpath.join(folder, f"{stem}.py"), posixpath.join(folder, stem, "__init__.py")):
                if self.bytes(self.below_manage(path)) is not None:
                    return self.below_manage(path)
        if len(found := self._elsewhere(stem)) == 1:
            return found[0]
        raise SettingsError(
            f"The settings {self.settings_module} are not at {self.place(self.below_manage(stem))}.py."
        )

    def _elsewhere(self, stem: str) -> list[str]:
        """Return the paths of a module up to two folders below manage.py: the image may install it."""
        patterns = [f"{above}/{stem}{end}" for above in ("*", "*/*") for end in (".py", "/__init__.py")]
        files = [file for pattern in patterns for file in sorted(self.place(self.django).glob(pattern))]
        kept = [
            file for file in files if "/." not in str(file.relative_to(self.top)) and not file.is_symlink()
        ]
        of_tests = [file for file in kept if {"test", "tests"} & {*file.relative_to(self.top).parts}]
        return [
            posixpath.relpath(file, self.root) for file in kept if file not in of_tests or kept == of_tests
        ]

    @cached_property
    def settings_text(self) -> str:
        return self.text(self.settings_path) or ""

    @cached_property
    def all_settings(self) -> str:
        """Return the settings and those they import (`from .base import *`), without our block, as text."""
        first = self.settings_path
        texts, todo, seen = [self.settings_text], [first], {first}
        while todo:
            for path in self._imported(todo.pop()):
                if path not in seen:
                    seen.add(path)
                    todo.append(path)
                    texts.append(self.text(path) or "")
        # The imported settings come first, so that the last assignment of a name is the one that counts.
        return "\n".join(map(_without_block, reversed(texts)))

    def _imported(self, path: str) -> Iterator[str]:
        """Yield the paths of the settings that a file imports completely."""
        for dots, name in _MORE_SETTINGS.findall(self.text(path) or ""):
            folder = posixpath.dirname(path)
            if not dots:  # `settings_path` is the module's path below the folder that Python imports from
                depth = self.settings_module.count(".") + self.settings_path.endswith("/__init__.py")
                folder = posixpath.normpath(posixpath.dirname(self.settings_path) + "/.." * depth)
            stem = posixpath.normpath("/".join((folder, *("..",) * (len(dots) - 1), *name.split("."))))
            found = [each for each in (f"{stem}.py", f"{stem}/__init__.py") if self.bytes(each) is not None]
            yield from found[:1]

    @cached_property
    def required(self) -> str:
        """Return the text of all files that name the project's packages, in which to search for names."""
        folders = list(dict.fromkeys((".", self.django, self.build.context)))
        names = sorted(
            posixpath.relpath(file, self.root)
            for folder in folders
            for pattern in ("*requirements*.txt", "*requirements*.in", "requirements/*.txt")
            for file in self.place(folder).glob(pattern)
            if not file.is_symlink() and file.name not in _TASKS_REQUIREMENTS
        )
        names += [f"{folder}/{name}" for folder in folders for name in ("pyproject.toml", "Pipfile")]
        texts = [self._words(name) for name in names]
        texts.append(_without_block(self.text(self.dockerfile) or ""))
        return "\n".join(texts)


def _without_block(text: str) -> str:
    """Return settings or a Dockerfile without the lines that `adopt` wrote there."""
    plain = text.replace("\r\n", "\n")
    if found := stamps.find(plain):
        plain = plain[: found.start] + plain[found.end :]
    return plain.partition(UNSTAMPED_SETTINGS)[0].partition(UNSTAMPED_DOCKERFILE)[0]


def normal(build: Build) -> Build:
    """Return a build whose paths have no needless parts."""
    dockerfile, context = posixpath.normpath(build.dockerfile), posixpath.normpath(build.context)
    return replace(build, dockerfile=dockerfile, context=context)


def workspace(shell: Shell, folder: Path) -> Path:
    """Return the folder of copilot/: this one, else the only one below it, else the nearest above it.

    Return `folder` itself if there is none. Raises UsageError if several lie below it.
    """
    if (folder / "copilot").is_dir():
        return folder
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*copilot/.workspace")
    listed = shell.run(git.command(folder, *words))
    found = sorted(
        {
            (folder / path).parents[1]
            for path in listed.stdout.split("\0")
            if path.endswith("/copilot/.workspace")
        }
    )
    if len(found) > 1:
        named = ", ".join(str(each.relative_to(folder)) for each in found)
        raise UsageError(f"{folder} has several folders with copilot/: write --into with one of {named}.")
    if found:
        return found[0]
    top = shell.run(git.command(folder, "rev-parse", "--show-toplevel"))
    above = [each for each in folder.parents if top.ok and each.is_relative_to(top.stdout.strip())]
    return next((each for each in above if (each / "copilot/.workspace").is_file()), folder)


def look(shell: Shell, root: Path, service: str, test_env: str) -> Project:
    """Return the project. Raises Refused if `root` is not a repository, SettingsError if not a workspace."""
    top = shell.run(git.command(root, "rev-parse", "--show-toplevel"))
    if not top.ok:
        raise Refused(
            f"{root} is not a Git repository, so changes could not be undone: run `git init` and commit."
        )
    if not (root / "copilot/.workspace").is_file():
        if workspace_files.services(root):
            raise SettingsError(
                f"{root / 'copilot'} has manifests and no .workspace, so Copilot does not know the "
                "application: write copilot/.workspace with the line `application: NAME`, let Git not ignore "
                "it, and commit it."
            )
        raise SettingsError(
            f"{root} is not a Copilot workspace: it has no copilot/.workspace. `copilot app init` and "
            "`copilot svc init` make one."
        )
    project = Project(root, _service(root, service), test_env, Path(top.stdout.removesuffix("\n")))
    return replace(project, django=_django(shell, project))


def _django(shell: Shell, project: Project) -> str:
    """Return the path of the folder of manage.py. Raises SettingsError if it cannot be told."""
    if project.bytes("manage.py") is not None:
        return "."
    listed = shell.run(
        git.command(project.top, "ls-files", "-z", "--", ":(top)manage.py", ":(top,glob)**/manage.py")
    )
    found = [
        posixpath.relpath(posixpath.dirname(project.top / path), project.root)
        for path in sorted(filter(None, listed.stdout.split("\0")))
    ]
    found = [each for each in found if "DJANGO_SETTINGS_MODULE" in (project.text(f"{each}/manage.py") or "")]
    for fits in (_is_in_context, _has_settings, _starts_there):
        found = [each for each in found if fits(project, each)] or found if len(found) > 1 else found
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(
            f"{project.top} has several manage.py ({', '.join(found)}): let "
            f"{project.root / project.manifest_path} say which project the service runs, with the variable "
            "DJANGO_SETTINGS_MODULE, or with a build context that has one only."
        )
    raise SettingsError(f"{project.top} has no manage.py of Django's that Git knows: commit it.")


def _is_in_context(project: Project, folder: str) -> bool:
    return not project.in_context(folder, project.build.context).startswith("..")


def _has_settings(project: Project, folder: str) -> bool:
    """Return True if the settings that the manifest or the Dockerfile names lie beside this manage.py."""
    try:
        return replace(project, django=folder).settings_path is not None
    except SettingsError:
        return False


def _starts_there(project: Project, folder: str) -> bool:
    """Return True if the image starts in the folder to which it copies this manage.py."""
    text = (project.text(project.dockerfile) or "").replace("\r\n", "\n")
    found = stages.read(text, project.build.target)
    path = project.in_context(f"{folder}/manage.py", project.build.context)
    if found.built is None:
        return False
    place = found.where(found.built, path).get(path, "")
    return posixpath.dirname(place) == found.folder(found.built)


def workloads(project: Project) -> Iterator[str]:
    """Yield the names of all services and jobs of the workspace, sorted."""
    for file in sorted((project.root / "copilot").glob("*/manifest.yml")):
        yield file.parent.name


def load_balanced(root: Path) -> list[str]:
    """Return the names of the Load Balanced Web Services, sorted."""
    services = workspace_files.services(root).items()
    return sorted(name for name, file in services if manifest.read(file).get("type") == SERVICE_TYPE)


def _service(root: Path, wanted: str) -> str:
    found = load_balanced(root)
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
