"""Find the images of a project that run its settings, and where they have manage.py."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from copilot_testenv.adopt import stages, stamps
from copilot_testenv.adopt.project import (
    UNSTAMPED_DOCKERFILE,
    Project,
    load_balanced,
    look,
    normal,
    workloads,
)
from copilot_testenv.adopt.stages import Stage, Stages
from copilot_testenv.copilot import manifest, yaml_positions
from copilot_testenv.copilot.manifest import Build
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.process import Shell

VENDOR = "vendor"
DEPLOYMENT_FILE = "deployment.json"
_INITS = frozenset({"catatonit", "docker-init", "dumb-init", "tini"})
_PASSES_ON = re.compile(r"(?m)^[^#\n]*\$[@*]")
_SYSTEM = re.compile(r"/usr(/local)?/?$")
_PYTHON = re.compile(r"(?i)\b(python|pip|pip3|pipenv|poetry|uv|gunicorn|celery|uwsgi|daphne)\b")


@dataclass(frozen=True)
class Image:
    """An image that Copilot builds. `places` are the lines of manifests that name it, as `file:line`."""

    project: Project
    build: Build
    places: tuple[str, ...] = ()

    @cached_property
    def text(self) -> str | None:
        """The Dockerfile with Unix line ends and without our lines; None if there is no file."""
        text = self.project.text(self.build.dockerfile)
        return None if text is None else without_block(text.replace("\r\n", "\n"))

    @cached_property
    def stages(self) -> Stages:
        return stages.read(self.text or "", self.build.target)

    @property
    def stage(self) -> Stage | None:
        return self.stages.built

    @property
    def manage(self) -> str:
        """The path of manage.py in the build context; it begins with `..` if the context does not have it."""
        return self.project.in_context(self.project.below_manage("manage.py"), self.build.context)

    @cached_property
    def files(self) -> dict[str, str]:
        """The places in the image of manage.py and of the file with the commit, where they are copied."""
        stage = self.stage
        return self.stages.where(stage, self.manage, DEPLOYMENT_FILE) if stage else {}

    @cached_property
    def folder(self) -> str:
        """The folder of manage.py in the image."""
        if self.manage in self.files:
            return posixpath.dirname(self.files[self.manage])
        return self.stages.folder(self.stage) if self.stage else "/"

    @property
    def command(self) -> str:
        """The command that runs manage.py in a container, from the folder in which the container starts."""
        start = self.stages.folder(self.stage) if self.stage else self.folder
        return f"{self.python} {posixpath.relpath(posixpath.join(self.folder, 'manage.py'), start)}"

    @property
    def python(self) -> str:
        """The program that runs the project: `python`, or that of an environment that is not on PATH.

        It is `poetry run python`, or Pipenv's, where only these know the place of the environment.
        """
        if self.stage is None or not self._has_uv:
            return f"{self.manager} run python" if self.manager else "python"
        variables = self.stages.variables(self.stage)
        usual = posixpath.join(self.stages.folder(self.stage), ".venv")
        environment = variables.get("UV_PROJECT_ENVIRONMENT") or usual
        is_first = variables.get("PATH", "").startswith(f"{environment}/bin")
        return "python" if is_first or _SYSTEM.match(environment) else f"{environment}/bin/python"

    @property
    def lacks_pip(self) -> bool:
        """Return True if the project runs in an environment that uv made, which has no pip."""
        return bool(self._has_uv or re.search(r"\buv (sync|venv)\b", self.text or ""))

    @property
    def manager(self) -> str:
        """`poetry` or `pipenv`, if it has made an environment of its own in the image; else empty."""
        text, variables = "\n".join(self._runs), self.stages.variables(self.stage) if self.stage else {}
        if "VIRTUAL_ENV" in variables or variables.get("PATH", "").partition(":")[0].endswith("venv/bin"):
            return ""
        is_off = variables.get("POETRY_VIRTUALENVS_CREATE", "").lower() in {"0", "false"}
        if re.search(r"\bpoetry (install|sync)\b", text):
            return "" if is_off or re.search(r"virtualenvs\.create\s+(false|0)\b", text) else "poetry"
        if found := re.search(r"\bpipenv (?:install|sync)\b[^\n&;]*", text):
            return "" if "--system" in found[0] or variables.get("PIPENV_SYSTEM") else "pipenv"
        return ""

    @property
    def _has_uv(self) -> bool:
        """Return True if the stage itself, or one it begins from, has an environment of `uv sync`."""
        variables = self.stages.variables(self.stage) if self.stage else {}
        return "UV_PROJECT_ENVIRONMENT" in variables or any(
            re.search(r"\buv sync\b", rest) for rest in self._runs
        )

    @property
    def _runs(self) -> list[str]:
        """The RUN steps of the stage and of those it begins from."""
        chain = self.stages.chain(self.stage) if self.stage else []
        return [step.rest for stage in chain for step in stage.steps if step.word == "RUN"]

    @property
    def runs_commands(self) -> bool:
        """Return True if a container runs the command that it is given: no ENTRYPOINT stands before it.

        An ENTRYPOINT that passes its arguments on is none: an init, `poetry run`, or a script of the build
        context with `"$@"`.
        """
        words = self.stages.entry_point(self.stage) if self.stage else None
        if words is None:
            return True
        if not words:
            return False
        if words[-1] in {"--", "run"} or posixpath.basename(words[0]) in _INITS:
            return True
        return any(_PASSES_ON.search(text) for text in self._named(words[-1]).values())

    @property
    def start_scripts(self) -> dict[str, str]:
        """The texts of the scripts of the build context that a container may start with, by their paths."""
        chain = self.stages.chain(self.stage) if self.stage else []
        steps = [step for stage in chain for step in stage.steps if step.word in {"CMD", "ENTRYPOINT"}]
        words = [word for step in steps[-2:] for word in re.findall(r"[\w./-]+", step.rest)]
        return {path: text for word in words for path, text in self._named(word).items() if text[:2] == "#!"}

    def _named(self, word: str) -> dict[str, str]:
        """Return the texts of the build context's files of that name, by their paths in the project."""
        name = posixpath.basename(word)
        context = self.project.place(self.build.context)
        patterns = [f"{folders}{name}" for folders in ("", "*/", "*/*/")] if name.strip(".") else []
        return {
            posixpath.relpath(file, self.project.root): file.read_bytes().decode("utf-8", "replace")
            for pattern in patterns
            for file in sorted(context.glob(pattern))
            if file.is_file() and not file.is_symlink()
        }

    @property
    def has_deployment_file(self) -> bool:
        """Return True if the Dockerfile copies the file with the commit beside manage.py already."""
        return self.files.get(DEPLOYMENT_FILE) == posixpath.join(self.folder, DEPLOYMENT_FILE)

    @property
    def has_lines_by_hand(self) -> bool:
        """Return True if somebody has written into the stage what installs our package."""
        chain = self.stages.chain(self.stage) if self.stage else []
        return any("django_testenv" in step.rest for stage in chain for step in stage.steps)

    @property
    def runs_settings(self) -> bool:
        """Return True if the image has Python and the project's manage.py."""
        is_in_context = not self.manage.startswith("..")
        return is_in_context and self.manage in self.files and bool(_PYTHON.search(self.text or ""))

    def wheel(self, name: str) -> str:
        """Return the path of a wheel that the build context has."""
        shared = f"{VENDOR}/{name}"
        if not self.project.in_context(shared, self.build.context).startswith(".."):
            return shared
        return posixpath.normpath(f"{self.build.context}/{VENDOR}/{name}")


def main(project: Project) -> Image:
    """Return the image of the service. Raises SettingsError if no image is built."""
    return Image(project, project.build)


def only_service(shell: Shell, root: Path, test_env: str) -> str:
    """Return the only one of several services whose image runs the settings; empty if that is not one."""
    names = load_balanced(root)
    found = [name for name in names if _runs_settings(shell, root, name, test_env)] if names[1:] else []
    return found[0] if len(found) == 1 else ""


def _runs_settings(shell: Shell, root: Path, service: str, test_env: str) -> bool:
    try:
        return main(look(shell, root, service, test_env)).runs_settings
    except (Refused, SettingsError):
        return False


def others(project: Project) -> list[Image]:
    """Return the other images of the workspace's services and jobs that run the settings."""
    found: dict[Build, tuple[str, ...]] = {}
    for name in workloads(project):
        path = f"copilot/{name}/manifest.yml"
        try:
            text = project.text(path) or ""
            data = manifest.parse(text, path)
        except SettingsError:
            continue  # `check` says what is wrong with it
        for keys, build in _builds(data):
            found[build] = (*found.get(build, ()), f"{path}:{_line(text, keys, path)}")
    own = project.build
    images = [Image(project, build, places) for build, places in found.items() if build != own]
    return [image for image in images if image.runs_settings]


def without_block(text: str) -> str:
    """Return a Dockerfile without the lines that `adopt` wrote there."""
    if found := stamps.find(text):
        return text[: found.start] + text[found.end :]
    place = unstamped(text)
    return text[: place[0]] + text[place[1] :] if place else text


def unstamped(text: str) -> tuple[int, int] | None:
    """Return the start and end of the lines of a version without stamps; None if there are none."""
    start = text.find(UNSTAMPED_DOCKERFILE)
    if start < 0:
        return None
    ends = (
        found.start()
        for found in re.finditer(r"(?mi)^\s*(USER|CMD|ENTRYPOINT)\s", text)
        if found.start() > start
    )
    return start, next(ends, len(text))


def _line(text: str, keys: tuple[str, ...], path: str) -> int:
    """Return the line of the last of these keys that the text itself has."""
    node, line = yaml_positions.read(text.removeprefix(manifest.BOM), path), 1
    for key in keys:
        entry = node.real.entry(key)
        if entry is None:
            break
        node, line = entry.value, entry.line
    return line


def _builds(at: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Build]]:
    """Yield each `image.build` of a manifest, with the keys that lead to it."""
    if not isinstance(at, dict):
        return
    image = at.get("image")
    build = manifest.build(image.get("build")) if isinstance(image, dict) else None
    if build:
        yield (*keys, "image", "build"), normal(build)
    for key, inner in at.items():
        yield from _builds(inner, (*keys, str(key)))
