"""Build an image: carry out a Dockerfile's steps on a build context, as far as that goes without Docker."""

from __future__ import annotations

import platform as machine
import posixpath
import re
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scripts.errors import UserError
from scripts.sandbox.images import store, venvs
from scripts.sandbox.images.dockerfile import Dockerfile, Instruction, Stage, assignments, expand, parse
from scripts.sandbox.images.ignore import read_ignore
from scripts.sandbox.images.tree import CopyError, Entry, Tree, file_of, hash_file, read_context
from scripts.sandbox.model import NGINX_CMD, NGINX_ENTRYPOINT, NGINX_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# What docker.io/library/python sets; other images are taken to set nothing but PATH.
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
_PYTHON_ENV = {"LANG": "C.UTF-8"}
_SHELL = ("/bin/sh", "-c")
# Instructions that change nothing here: ECS takes health checks, ports and stop signals from the task
# definition, and a task runs as the user who started the sandbox.
_SILENT = frozenset({"EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "STOPSIGNAL"})
_SHOWN = 110  # characters of a step in the list of what was not done


class BuildError(UserError):
    """The image cannot be built; nothing was stored."""


@dataclass
class _State:
    """What a stage is so far."""

    tree: Tree = field(default_factory=Tree)
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    shell: tuple[str, ...] = _SHELL
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    cmd_is_own: bool = False  # set in this stage; ENTRYPOINT resets an inherited CMD
    volumes: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """What `$name` means: ENV wins over ARG."""
        return {"PATH": _PATH, **self.arguments, **self.env}

    def heir(self) -> _State:
        return replace(self, tree=self.tree.copy(), env=dict(self.env), arguments={}, cmd_is_own=False)


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
    """Build an image and store it; returns its digest, `sha256:…`.

    `say` is told, one line each, what was not done here. Raises UserError in docker's words where docker
    would fail, and with pip's last lines where pip does.
    """
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"failed to read dockerfile: {dockerfile}: {error}") from error
    if not context.is_dir():
        raise BuildError(f'unable to prepare context: path "{context}" not found')
    work = _Build(
        parse(text),
        read_context(context, read_ignore(context, dockerfile), state_dir),
        dict(arguments or {}),
        platform or f"linux/{'arm64' if machine.machine() in ('arm64', 'aarch64') else 'amd64'}",
        say,
    )
    state = work.run(target)
    venv = None
    if work.installs:
        venv = venvs.venv_digest(work.installs)
        folder = venvs.venv_folder(state_dir, venv)
        if venvs.make_venv(folder, work.installs, pip_cache=state_dir / "pip"):
            say(f"sandbox: {len(work.installs)} pip install step(s) done in a new virtual environment")
    return store.save(
        state_dir,
        state.tree,
        {
            "Env": dict(sorted(state.env.items())),
            "WorkingDir": state.workdir,
            "Entrypoint": list(state.entrypoint),
            "Cmd": list(state.cmd),
            "Paths": sorted({*state.tree.claims(), *state.volumes}),
            "Venv": venv,
        },
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
        self.states: dict[int, _State] = {}
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
        self.other_pythons: set[str] = set()

    def run(self, target: str | None) -> _State:
        """Carry out the target stage (by default the last) and those it needs, in order."""
        last = len(self.stages) - 1
        if target:
            found = self._number(target, len(self.stages))
            if found is None:
                raise BuildError(f"target stage {target!r} could not be found")
            last = found
        for number in sorted(self._needed(last)):
            self.states[number] = self._stage(number)
        return self.states[last]

    def _number(self, name: str, before: int) -> int | None:
        """The stage of that name or number among the first `before`; the last one of a name counts."""
        for number in reversed(range(before)):
            if self.stages[number].name == name.lower():
                return number
        return int(name) if name.isdecimal() and int(name) < before else None

    def _base(self, stage: Stage) -> str:
        return expand(stage.base, {**self.platform, **self.globals}, stage.escape, stage.line)

    def _needed(self, last: int) -> set[int]:
        needed: set[int] = set()
        todo: list[int | None] = [last]
        while todo:
            number = todo.pop()
            if number is None or number in needed:
                continue
            needed.add(number)
            stage = self.stages[number]
            todo.append(self._number(self._base(stage), number))
            for step in stage.instructions:
                for name, value in step.flags:
                    if name == "from":
                        todo.append(self._number(value, number))
                    elif name == "mount":
                        todo.append(self._number(_mount(value).get("from", ""), number))
        return needed

    def _stage(self, number: int) -> _State:
        stage = self.stages[number]
        name = self._base(stage)
        if not name:
            raise BuildError(f"Dockerfile line {stage.line}: base name ({stage.base}) should not be blank")
        base = self._number(name, number)
        if base is not None:
            state = self.states[base].heir()
        else:
            state = _State()
            python = re.search(r"(?:^|/)python:(\d+)(?:\.(\d+))?", name)
            if python:
                state.env.update(_PYTHON_ENV)
                state.cmd = ("python3",)
                self._compare_python(name, python)
            proxy = re.search(r"(?:^|/)nginx(?:-unprivileged)?(?::([^@]*))?(?:@|$)", name)
            if proxy:
                state.env[NGINX_VERSION] = proxy[1] or "latest"
                state.entrypoint, state.cmd = NGINX_ENTRYPOINT, NGINX_CMD
        for step in stage.instructions:
            self._step(step, state, number)
        return state

    def _compare_python(self, name: str, python: re.Match[str]) -> None:
        version = tuple(int(part) for part in python.groups() if part)
        if version != sys.version_info[: len(version)] and name not in self.other_pythons:
            self.other_pythons.add(name)
            self.say(
                f"sandbox: {name} is Python {'.'.join(map(str, version))}; here it runs on Python"
                f" {sys.version_info.major}.{sys.version_info.minor} ({sys.executable})"
            )

    def _step(self, step: Instruction, state: _State, number: int) -> None:
        match step.keyword:
            case "ENV":
                state.env.update(assignments(step, state.variables))
            case "ARG":
                self._declare(step, state.arguments, state.variables, self.globals)
            case "COPY" | "ADD":
                self._copy(step, state, number)
            case "RUN":
                self._run(step, state, number)
            case "WORKDIR" | "VOLUME":
                _make_folders(step, state)
            case "CMD" | "ENTRYPOINT" | "SHELL":
                _set_command(step, state)
            case keyword if keyword not in _SILENT:  # USER, ONBUILD
                self._not_done(step, f"{keyword} {step.text}")

    def _declare(
        self,
        step: Instruction,
        into: dict[str, str],
        variables: Mapping[str, str],
        outer: Mapping[str, str] | None = None,
    ) -> None:
        """ARG: the value given on the command line, or the default, or the one from before FROM."""
        for word in step.words({**variables, **into}):
            name, equals, default = word.partition("=")
            if name in self.given:
                into[name] = self.given[name]
            elif equals:
                into[name] = default
            elif name in self.platform:
                into[name] = self.platform[name]
            elif outer and name in outer:
                into[name] = outer[name]

    def _not_done(self, step: Instruction, what: str) -> None:
        text = " ".join(what.split())
        short = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
        self.say(f"sandbox: not done here: {short} (line {step.line})")

    def _run(self, step: Instruction, state: _State, number: int) -> None:
        listed = step.json()
        command: str | list[str] = step.text if listed is None else listed
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
        done = venvs.understand(
            command, folder=state.workdir, tree=tree, variables=state.variables, line=step.line
        )
        self.installs.extend(done.installs)
        if done.left:
            self._not_done(step, "RUN " + " && ".join(done.left))

    def _bind(self, tree: Tree, mount: dict[str, str], state: _State, number: int) -> None:
        """Put what `RUN --mount=type=bind` shows into the files that this one step sees."""
        source = self._source(mount.get("from"), number)
        if source is None:
            return
        path = source.resolve(_absolute("/", mount.get("source", "/")))
        entry = source.get(path)
        target = _absolute(state.workdir, mount["target"])
        if entry is None:
            raise CopyError(f'failed to calculate checksum of ref: "{path}": not found')
        if entry.kind != "folder":
            tree.put(target, entry)
            return
        tree.make_folder(target)
        for each, inner in source.below(path):
            tree.put(target + each[len(path.rstrip("/")) :], inner)

    def _source(self, name: str | None, number: int) -> Tree | None:
        """The files that COPY --from names; None where they are another image's, which nobody has here."""
        if name is None:
            return self.context
        stage = self._number(name, number)
        return None if stage is None else self.states[stage].tree

    def _copy(self, step: Instruction, state: _State, number: int) -> None:
        for flag, _ in step.flags:
            if flag in ("parents", "exclude", "unpack", "checksum", "keep-git-dir"):
                raise step.error(f"--{flag} is not supported in the sandbox: copy without it.")
        words = step.words(state.variables)
        heredocs = {each.name: each for each in step.heredocs}
        if len(words) < 2:  # noqa: PLR2004 - at least a source and a destination
            raise step.error(f"{step.keyword} requires at least two arguments")
        *sources, to = words
        target = _absolute(state.workdir, to) + ("/" if to.endswith(("/", "/.")) or to == "." else "")
        if len(sources) > 1 and not target.endswith("/"):
            raise step.error("the destination must be a directory and end with a /")
        mode = _mode(step)
        given = step.flag("from")
        tree = self._source(expand(given, state.variables) if given is not None else None, number)
        for source in sources:
            inline = (
                heredocs.get(source.removeprefix("<<").removeprefix("-")) if source.startswith("<<") else None
            )
            if inline is not None:
                text = _fill(inline.text, state.variables, step) if inline.expand else inline.text
                self._place(state, file_of(text.encode(), mode or 0o644), inline.name, target)
            elif tree is None:
                self._not_done(step, f"{step.keyword} --from={given} {source} {to}: that image is not here")
            elif step.keyword == "ADD" and _is_foreign(source):
                self._not_done(step, f"ADD {source} {to}")
            else:
                self._copy_one(step, state, tree, source, target=target, mode=mode)

    def _copy_one(
        self, step: Instruction, state: _State, tree: Tree, source: str, *, target: str, mode: int | None
    ) -> None:
        from_context = tree is self.context
        outside = f"COPY failed: forbidden path outside the build context: {source} ()"
        if from_context and posixpath.normpath(source.lstrip("/") or ".").split("/")[0] == "..":
            raise step.error(outside)
        path = _absolute("/", source)
        found = tree.glob(path) if re.search(r"[*?\[]", path) and tree.get(path) is None else [path]
        for each in found:
            try:
                place = tree.resolve(each, outside=outside if from_context else None)
            except CopyError as error:
                raise step.error(str(error)) from error
            entry = tree.get(place)
            if entry is None and not from_context:
                self._not_done(step, f"COPY --from={step.flag('from')} {source}: nothing is there")
            elif entry is None:
                raise step.error(f'failed to calculate checksum of ref: "{each}": not found')
            elif entry.kind == "folder":
                self._copy_folder(state, tree, place, target, mode)
            else:
                self._place(state, self._known(tree, place, entry, mode), posixpath.basename(each), target)

    def _copy_folder(self, state: _State, tree: Tree, place: str, target: str, mode: int | None) -> None:
        below = list(tree.below(place))
        to = state.tree.make_folder(target)
        for path, entry in below:
            state.tree.put(
                to.rstrip("/") + path[len(place.rstrip("/")) :], self._known(tree, path, entry, mode)
            )

    def _known(self, tree: Tree, path: str, entry: Entry, mode: int | None) -> Entry:
        """The entry with its content's hash (worked out once) and the mode that --chmod asks for."""
        if entry.source is not None and not entry.sha256:
            entry = tree.entries[path] = replace(entry, sha256=hash_file(entry.source))
        if entry.kind == "link" and entry.target.startswith("/") and tree is self.context:
            self.say(
                f"sandbox: {path.lstrip('/')} is a link to {entry.target}: it stays one, nothing is copied"
            )
        return replace(entry, mode=mode) if mode is not None and entry.kind == "file" else entry

    def _place(self, state: _State, entry: Entry, name: str, target: str) -> None:
        """Put one file at `target`, or into it where that is a folder."""
        place = state.tree.get(state.tree.resolve(target))
        inside = target.endswith("/") or (place is not None and place.kind == "folder")
        state.tree.put(posixpath.join(target, name) if inside else target, entry)


def _make_folders(step: Instruction, state: _State) -> None:
    for path in step.words(state.variables):
        if step.keyword == "WORKDIR":
            state.workdir = _absolute(state.workdir, path)
            state.tree.make_folder(state.workdir)
        else:
            state.volumes = (*state.volumes, state.tree.make_folder(_absolute("/", path)))


def _set_command(step: Instruction, state: _State) -> None:
    listed = step.json()
    words = tuple(listed) if listed is not None else (*state.shell, step.text)
    if step.keyword == "CMD":
        state.cmd = words
        state.cmd_is_own = True
    elif step.keyword == "ENTRYPOINT":
        state.entrypoint = words
        state.cmd = state.cmd if state.cmd_is_own else ()
    elif listed:
        state.shell = words
    else:
        raise step.error('write it as a JSON list, such as SHELL ["/bin/bash", "-c"].')


def _absolute(folder: str, path: str) -> str:
    joined = posixpath.normpath(posixpath.join("/", folder, path))
    return "/" + joined.lstrip("/")


def _mount(value: str) -> dict[str, str]:
    """`type=bind,source=a,target=b` as a mapping, with the long names."""
    names = {"src": "source", "dst": "target", "destination": "target"}
    pairs = (part.partition("=") for part in value.split(","))
    return {names.get(name, name): text for name, _, text in pairs}


def _mode(step: Instruction) -> int | None:
    text = step.flag("chmod")
    if text is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise step.error(f"--chmod={text} is not supported in the sandbox: write it as --chmod=755.")
    return int(text, 8)


def _fill(text: str, variables: Mapping[str, str], step: Instruction) -> str:
    """Fill variables into a heredoc: quotes are plain text there."""
    return re.sub(
        r"(?<!\\)\$(?:\w+|\{[^}]*\})", lambda found: expand(found[0], variables, step.escape, step.line), text
    )


def _is_foreign(source: str) -> bool:
    """Whether ADD would download or unpack this."""
    return bool(
        re.match(r"https?://|git@|ssh://|git://", source)
        or re.search(r"\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2|txz)$", source)
    )
