"""Builds an image: runs a Dockerfile's steps on a build context, as far as possible without Docker."""

from __future__ import annotations

import json
import platform as machine
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import (
    pip_targets,
    projects,
    pythons,
    start_commands,
    store,
    undone,
    venv_cache,
    venvs,
)
from copilot_sandbox.images.copying import Copying
from copilot_sandbox.images.dockerfile import Dockerfile, Instruction, Stage, assignments, expand, parse
from copilot_sandbox.images.ignore import read_ignore
from copilot_sandbox.images.package_steps import PackageStep
from copilot_sandbox.images.stage_state import State, absolute, make_folders, set_command
from copilot_sandbox.images.tree import CopyError, Tree, read_context
from copilot_sandbox.model import NGINX_CMD, NGINX_ENTRYPOINT, NGINX_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_PYTHON_ENV = {"LANG": "C.UTF-8"}  # the variables of docker.io/library/python, besides PATH
# Instructions without an effect here: ECS takes health checks, ports and stop signals from the task
# definition, and a task runs as the user who started the sandbox.
_WITHOUT_EFFECT = frozenset({"EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "STOPSIGNAL"})
# The official images of Python 3.11 and before have these; pkg_resources went with setuptools 82.
# Source: https://github.com/docker-library/python/blob/master/versions.json
_SETUPTOOLS, _LAST_WITH_SETUPTOOLS = ("setuptools==79.0.1", "wheel==0.45.1"), 11
_PROGRAMS = "/usr/local/bin"  # where pip puts programs in an image of Python


class BuildError(SandboxError):
    """The image cannot be built; nothing was stored."""


def build(
    context: Path,
    dockerfile: Path,
    state_dir: Path,
    *,
    say: Callable[[str], None],
    arguments: Mapping[str, str] | None = None,
    target: str | None = None,
    platform: str | None = None,
) -> str:
    """Build an image and store it. Return its digest, `sha256:…`.

    `say` gets a line for each step that was not done here. Raises SandboxError with docker's message where
    docker would fail, and with pip's last lines if pip does.
    """
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"failed to read dockerfile: {dockerfile}: {error}") from error
    if not context.is_dir():
        raise BuildError(f'unable to prepare context: path "{context}" not found')
    try:
        return _build(context, dockerfile, text, state_dir, say, arguments, target, platform)
    except (venvs.InstallError, projects.LockFileError) as error:
        if not pythons.need(error.other_python):
            raise
    return _build(context, dockerfile, text, state_dir, say, arguments, target, platform)


def _build(
    context: Path,
    dockerfile: Path,
    text: str,
    state_dir: Path,
    say: Callable[[str], None],
    arguments: Mapping[str, str] | None,
    target: str | None,
    platform: str | None,
) -> str:
    work = _Build(
        parse(text),
        read_context(context, read_ignore(context, dockerfile), state_dir),
        dict(arguments or {}),
        platform or f"linux/{'arm64' if machine.machine() in ('arm64', 'aarch64') else 'amd64'}",
        say,
    )
    state = work.run(target)
    venv, packages, python = None, {}, pythons.own()
    programs = work.managers - {"pip"}
    own = {name for path, name in state.targets.items() if pip_targets.is_interpreter_path(path)}
    installs = [
        replace(install, target="") if install.name in own else install for install in work.all_installs()
    ]
    targets = {path: name for path, name in state.targets.items() if name not in own}
    if installs or work.has_python:
        python = pythons.for_images([state.base, *(each.base for each in reversed(installs))])
        venv = venvs.venv_digest(installs, programs, python)
        folder = venv_cache.venv_folder(state_dir, venv)
        made = venvs.make_venv(
            folder, installs, pip_cache=state_dir / "pip", programs=programs, python=python, say=say
        )
        own_installs = len(installs) - len(work.of_base)
        if own_installs and work.has_python:
            targets.setdefault(_PROGRAMS, "bin")
        if made and own_installs:
            say(f"sandbox: {own_installs} pip install step(s) done in a new virtual environment")
        packages = {path: pip_targets.folder_of(folder, name) for path, name in targets.items()}
    return store.save(
        state_dir,
        state.tree,
        {
            "Env": dict(sorted(state.env.items())),
            "WorkingDir": state.workdir,
            "Entrypoint": list(state.entrypoint),
            "Cmd": list(state.cmd),
            "Paths": sorted({*state.tree.own_paths(), *state.volumes, *({_PROGRAMS} & targets.keys())}),
            "Venv": venv,
            **({} if python.is_own else {"Python": python.folder}),
            **(
                {"StartCommands": [asdict(each) for each in state.start_commands]}
                if state.start_commands
                else {}
            ),
            **({"Targets": dict(sorted(targets.items()))} if targets else {}),
        },
        packages,
    )


class _Build:
    def __init__(
        self,
        dockerfile: Dockerfile,
        context: Tree,
        given: dict[str, str],
        platform: str,
        say: Callable[[str], None],
    ) -> None:
        self.stages = dockerfile.stages
        self.context = context
        self.given = given
        self.say = say
        self.installs: list[venvs.Install] = []
        self.of_base: tuple[venvs.Install, ...] = ()  # what the image of FROM brings
        self.managers: set[str] = set()
        self.states: dict[int, State] = {}
        system, _, architecture = platform.partition("/")
        self.platform = {
            "TARGETPLATFORM": platform,
            "TARGETOS": system,
            "TARGETARCH": architecture.partition("/")[0],
            "BUILDPLATFORM": platform,
            "BUILDOS": system,
            "BUILDARCH": architecture.partition("/")[0],
        }
        self.globals: dict[str, str] = {}
        for step in dockerfile.arguments:
            self._declare(step, self.globals, {**self.platform, **self.globals})
        self.has_python = False  # an image with Python has an interpreter even if it installs nothing
        self.other_pythons: set[str] = set()

    def run(self, target: str | None) -> State:
        """Run the target stage (by default the last) and the stages that it needs, in order."""
        last = len(self.stages) - 1
        if target:
            number = self._find_stage(target, len(self.stages))
            if number is None:
                raise BuildError(f"target stage {target!r} could not be found")
            last = number
        for number in sorted(self._needed_stages(last)):
            self.states[number] = self._stage(number)
        return self.states[last]

    def _find_stage(self, name: str, before: int) -> int | None:
        """Return the last of the first `before` stages with that name, or the stage with that number."""
        for number in reversed(range(before)):
            if self.stages[number].name == name.lower():
                return number
        return int(name) if name.isdecimal() and int(name) < before else None

    def _base(self, stage: Stage) -> str:
        return expand(stage.base, {**self.platform, **self.globals}, stage.escape, stage.line)

    def _needed_stages(self, last: int) -> set[int]:
        numbers: set[int] = set()
        pending: list[int | None] = [last]
        while pending:
            number = pending.pop()
            if number is None or number in numbers:
                continue
            numbers.add(number)
            stage = self.stages[number]
            pending.append(self._find_stage(self._base(stage), number))
            for step in stage.instructions:
                for name, value in step.flags:
                    if name == "from":
                        pending.append(self._find_stage(value, number))
                    elif name == "mount":
                        pending.append(self._find_stage(_mount(value).get("from", ""), number))
        return numbers

    def _stage(self, number: int) -> State:
        stage = self.stages[number]
        name = self._base(stage)
        if not name:
            raise BuildError(f"Dockerfile line {stage.line}: base name ({stage.base}) should not be blank")
        base = self._find_stage(name, number)
        if base is not None:
            state = self.states[base].child()
        else:
            state = State()
            python = pythons.version_of(name)
            state.base = name
            if python:
                self.has_python = True
                state.env.update({**_PYTHON_ENV, "PYTHON_VERSION": pythons.for_images([name]).number})
                state.cmd = ("python3",)
                self._compare_python(name, python)
                if "uv:" not in name and len(python) > 1 and python[1] <= _LAST_WITH_SETUPTOOLS:
                    missing = f"{name} has setuptools and wheel; here they are missing"
                    self.of_base = (
                        venvs.Install(_SETUPTOOLS, "/", Tree(), {}, stage.line, optional=missing, base=name),
                    )
            nginx = re.search(r"(?:^|/)nginx(?:-unprivileged)?(?::([^@]*))?(?:@|$)", name)
            if nginx:
                state.env[NGINX_VERSION] = nginx[1] or "latest"
                state.entrypoint, state.cmd = NGINX_ENTRYPOINT, NGINX_CMD
        for step in stage.instructions:
            self._step(step, state, number)
        return state

    def _compare_python(self, name: str, version: tuple[int, ...]) -> None:
        here = pythons.for_images([name])
        if version != here.version[: len(version)] and name not in self.other_pythons:
            self.other_pythons.add(name)
            self.say(
                f"sandbox: {name} is Python {'.'.join(map(str, version))}; here it runs on Python"
                f" {'.'.join(map(str, here.version[:2]))} ({here.program})"
            )

    def _step(self, step: Instruction, state: State, number: int) -> None:
        match step.keyword:
            case "ENV":
                state.env.update(assignments(step, state.variables))
            case "ARG":
                self._declare(step, state.arguments, state.variables, self.globals)
            case "COPY" | "ADD":
                given = step.flag("from")
                tree = self._source(None if given is None else expand(given, state.variables), number)
                Copying(step, state, tree, tree is self.context, self.say).run()
                stage = None if given is None else self._find_stage(expand(given, state.variables), number)
                if stage is not None:
                    self._copy_environments(step, self.states[stage], state)
            case "RUN":
                self._run(step, state, number)
            case "WORKDIR" | "VOLUME":
                make_folders(step, state)
            case "CMD" | "ENTRYPOINT" | "SHELL":
                set_command(step, state)
            case keyword if keyword not in _WITHOUT_EFFECT:  # USER, ONBUILD
                self._not_done(step, f"{keyword} {step.text}")

    def _declare(
        self,
        step: Instruction,
        values: dict[str, str],
        variables: Mapping[str, str],
        outer: Mapping[str, str] | None = None,
    ) -> None:
        """Set ARG's variable: to the command line's value, the default, or the value from before FROM."""
        for word in step.words({**variables, **values}):
            name, equals, default = word.partition("=")
            if name in self.given:
                values[name] = self.given[name]
            elif equals:
                values[name] = default
            elif name in self.platform:
                values[name] = self.platform[name]
            elif outer and name in outer:
                values[name] = outer[name]

    def _not_done(self, step: Instruction, what: str) -> None:
        self.say(f"sandbox: not done here: {undone.short(what)} (line {step.line})")

    def _run(self, step: Instruction, state: State, number: int) -> None:
        words = step.json()
        command: str | list[str] = step.text if words is None else words
        if step.heredocs:
            first = step.text.split("\n", 1)[0].strip()
            plain = re.fullmatch(r"<<-?(['\"]?)\w+\1", first)
            command = step.heredocs[0].text if plain else first
        tree = state.tree
        for name, value in step.flags:
            mount = _mount(value) if name == "mount" else {}
            if mount.get("type", "bind") == "bind" and "target" in mount:
                tree = tree.copy() if tree is state.tree else tree
                self._bind(tree, mount, state, number)
                stage = self._find_stage(mount.get("from", ""), number)
                if stage is not None:
                    place = absolute(state.workdir, mount["target"])
                    held = pip_targets.moved(self.states[stage].wheels, mount.get("source", "/"), place)
                    state.wheels.update(held)
        done = PackageStep(state, tree, step.line).run(command)
        self.installs.extend(done.installs)
        self.managers |= done.managers
        if done.left:
            self._not_done(step, "RUN " + " && ".join(done.left))
        for note in undone.of_run(step.line, done.left):
            self.say(note)
        state.start_commands += tuple(done.start_commands)
        for each in done.start_commands:
            self.say(undone.at_start(each))
        for text, reason in done.missed:
            self.say(
                f"sandbox: line {step.line} installed nothing here: `{undone.short(text)}`: {reason}; its "
                "packages are missing where the code imports them"
            )

    def all_installs(self) -> list[venvs.Install]:
        """Return the installs in their order, each once."""
        found: dict[str, venvs.Install] = {}
        for install in (*self.of_base, *self.installs):
            found.setdefault(json.dumps(install.key()), install)
        return list(found.values())

    def _copy_environments(self, step: Instruction, source: State, state: State) -> None:
        """Copy the environments, targets and wheels that are below the paths of COPY --from."""
        *paths, to = step.words(state.variables)
        for path in paths:
            one, two = absolute("/", path), absolute(state.workdir, to)
            state.targets.update(pip_targets.copied_targets(source.targets, one, two))
            state.wheels.update(pip_targets.moved(source.wheels, one, two))
            state.start_commands += start_commands.copied(source.start_commands, one, two)

    def _bind(self, tree: Tree, mount: dict[str, str], state: State, number: int) -> None:
        """Add the files of `RUN --mount=type=bind` to the tree of this one step."""
        source = self._source(mount.get("from"), number)
        if source is None:
            return
        path = source.resolve(absolute("/", mount.get("source", "/")))
        entry = source.get(path)
        target = absolute(state.workdir, mount["target"])
        if entry is None:
            raise CopyError(f'failed to calculate checksum of ref: "{path}": not found')
        if entry.kind != "folder":
            tree.put(target, entry)
            return
        tree.make_folder(target)
        for inner_path, inner in source.below(path):
            tree.put(target + inner_path[len(path.rstrip("/")) :], inner)

    def _source(self, name: str | None, number: int) -> Tree | None:
        """Return the files of COPY --from; None for another image, because none is available here."""
        if name is None:
            return self.context
        stage = self._find_stage(name, number)
        return None if stage is None else self.states[stage].tree


def _mount(value: str) -> dict[str, str]:
    """Parse `type=bind,source=a,target=b` to a mapping with the long names."""
    names = {"src": "source", "dst": "target", "destination": "target"}
    pairs = (part.partition("=") for part in value.split(","))
    return {names.get(name, name): text for name, _, text in pairs}
