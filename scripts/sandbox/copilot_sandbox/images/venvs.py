"""The pip installs of a Dockerfile: finds them in its RUN steps, and does them in one virtual environment."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox import child_variables, scratch
from copilot_sandbox.agent.confined import confined
from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import build_variables, pip_targets
from copilot_sandbox.images.dockerfile import expand, split_words
from copilot_sandbox.images.tree import Entry, Tree, hash_file
from copilot_sandbox.images.venv_cache import MARKER, mark_used

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOCK_SECONDS = 900.0  # for another build with the same installs, as long as a deploy may take
_LAST_LINES = 15
_OPERATORS = frozenset("();<>|&")
# Options that are dropped, with the number of words that follow. They choose a place, which is always the one
# environment here (--target: see `pip_targets`), or they switch off pip's cache, which would only slow down
# the next build.
_DROPPED = {
    "--break-system-packages": 0,
    "--no-cache-dir": 0,
    "--user": 0,
    "--prefix": 1,
    "--python": 1,
    "--root": 1,
    "--root-user-action": 1,
    "--target": 1,
    "-t": 1,
}
_FILES = ("-r", "--requirement", "-c", "--constraint")
# Commands that only prepare for pip. They have no effect here, because the environment exists.
_PREPARING = frozenset({"set", "true", ":", "export", "activate"})


class InstallError(SandboxError):
    """pip could not install the Dockerfile's packages; the message ends with pip's last lines."""


@dataclass(frozen=True)
class Install:
    """One `pip install`, with the files that it reads."""

    arguments: tuple[str, ...]
    folder: str  # its working folder in the image
    tree: Tree
    variables: Mapping[str, str]  # PIP_… from ENV and ARG
    line: int
    target: str = ""  # the image's folder of --target

    @property
    def name(self) -> str:
        """Return the name of the folder for the packages of --target; empty without it."""
        return pip_targets.folder_name(self.target) if self.target else ""

    def key(self) -> object:
        files = [
            [path, item.kind, item.sha256 or item.target] for path, item in sorted(self.tree.entries.items())
        ]
        target_key = [self.target] if self.target else []
        return [self.arguments, self.folder, files, sorted(self.variables.items()), *target_key]


@dataclass(frozen=True)
class RunStep:
    """The parts of a RUN step: its pip installs, and the commands that are not run here."""

    installs: tuple[Install, ...]
    left: tuple[str, ...]


def split_run(
    command: str | list[str], *, folder: str, tree: Tree, variables: Mapping[str, str], line: int
) -> RunStep:
    """Split a RUN step. `variables` are those of ENV and ARG. Only plain pip commands become installs."""
    installs: list[Install] = []
    left: list[str] = []
    for words, text in _commands(command, variables):
        if words[:1] == ["cd"] and len(words) == 2:  # noqa: PLR2004 - `cd folder`
            folder = posixpath.normpath(posixpath.join(folder, words[1]))
            continue
        arguments = pip_arguments(words)
        if arguments is not None:
            pip = build_variables.pip_variables(variables)
            files, target = _hashed(_inputs(arguments, folder, tree)), pip_targets.target_of(words, folder)
            installs.append(Install(arguments, folder, files, pip, line, target))
        elif not _is_preparing(words):
            left.append(text)
    return RunStep(tuple(installs), tuple(left))


def _commands(command: str | list[str], variables: Mapping[str, str]) -> Iterator[tuple[list[str], str]]:
    """Yield the simple commands of a step as (words, text). Other commands have no words."""
    if not isinstance(command, str):
        yield command, shlex.join(command)
        return
    for text in re.split(r"&&|;|\n", _outside_quotes(command)):
        plain = text.replace("\0", "").strip()
        restored = _restore(plain)
        if not restored or restored.startswith("#"):
            continue
        try:
            lexer = shlex.shlex(restored, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            lexer.commenters = ""
            operators = any(word and set(word) <= _OPERATORS for word in lexer)
        except ValueError:
            operators = True
        if operators or "`" in restored:
            yield [], restored
            continue
        words = [expand(word, variables) for word in split_words(restored)]
        while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0], re.DOTALL):
            words.pop(0)
        yield words, restored


# Characters that no Dockerfile contains hide the separators inside quotes from the split.
_HIDDEN = {"&": "\ue000", ";": "\ue001", "\n": "\ue002"}


def _outside_quotes(text: str) -> str:
    out = []
    quote = ""
    for char in text:
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        out.append(_HIDDEN.get(char, char) if quote else char)
    return "".join(out)


def _restore(text: str) -> str:
    for char, hidden in _HIDDEN.items():
        text = text.replace(hidden, char)
    return text


def _is_preparing(words: list[str]) -> bool:
    """Return True for a command that creates or activates an environment, or sets a shell option."""
    if not words:
        return False
    program = posixpath.basename(words[0])
    if program in (".", "source"):
        return words[-1].endswith("/activate")
    if program == "virtualenv" or (program.startswith("python") and words[1:3] == ["-m", "venv"]):
        return True
    return program in _PREPARING


def pip_arguments(words: list[str]) -> tuple[str, ...] | None:
    """Return the words after `pip install` or `python -m pip install`, without those that name a place.

    Return None for another command.
    """
    if not words:
        return None
    program = posixpath.basename(words[0])
    rest = words[1:]
    if re.fullmatch(r"python[\d.]*", program):
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            rest = rest[1:]
        if rest[:2] != ["-m", "pip"]:
            return None
        rest = rest[2:]
    elif not re.fullmatch(r"pip[\d.]*", program):
        return None
    before = []
    while rest and rest[0].startswith("-"):
        before.append(rest[0])
        rest = rest[1:]
    if rest[:1] != ["install"]:
        return None
    return tuple(_without_places([*before, *rest[1:]]))


def _without_places(arguments: list[str]) -> Iterator[str]:
    todo = list(arguments)
    while todo:
        word = todo.pop(0)
        name, equals, value = word.partition("=")
        if name in _DROPPED:
            del todo[: 0 if equals else _DROPPED[name]]
        elif word.startswith("-t"):
            continue  # -tFOLDER
        elif name in ("-e", "--editable"):
            # An editable install would point at the build's temporary folder; the container needs a copy.
            if equals:
                yield value
        else:
            yield word


def _inputs(arguments: tuple[str, ...], folder: str, tree: Tree) -> Tree:
    """Return the files that an install reads: its requirements files, or all files if it may read others."""
    listed = _file_arguments(list(arguments))
    if any(_may_be_a_path(word, folder, tree) for word in listed.others):
        return tree
    pending = [posixpath.join(folder, file) for file in listed.files]
    chosen = Tree()
    while pending:
        path = tree.resolve(pending.pop())
        entry = tree.get(path)
        if entry is None or entry.kind != "file" or chosen.get(path) is not None:
            continue
        chosen.put(path, entry)
        for line in _lines(entry):
            listed = _file_arguments(line.split())
            if re.match(r"(-e|--editable|-f|--find-links)\b|[./]|file:|\S+ @ ", line):
                return tree
            pending.extend(posixpath.join(posixpath.dirname(path), file) for file in listed.files)
    return chosen


class _FileArguments(NamedTuple):
    files: list[str]  # after -r and -c
    others: list[str]


def _file_arguments(words: list[str]) -> _FileArguments:
    split = _FileArguments([], [])
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in _FILES and (equals or words):
            split.files.append(value if equals else words.pop(0))
        elif word.startswith(("-r", "-c")):
            split.files.append(word[2:])
        else:
            split.others.append(word)
    return split


def _hashed(tree: Tree) -> Tree:
    """Return the same tree with the hashes of all files."""
    return Tree(
        {
            path: replace(each, sha256=hash_file(each.source)) if each.source and not each.sha256 else each
            for path, each in tree.entries.items()
        }
    )


def _may_be_a_path(word: str, folder: str, tree: Tree) -> bool:
    return (
        word.startswith((".", "/", "-f", "--find-links"))
        or word.endswith((".whl", ".tar.gz", ".zip"))
        or "*" in word
        or ("/" in word and tree.get(tree.resolve(posixpath.join(folder, word))) is not None)
    )


def _lines(entry: Entry) -> list[str]:
    data = entry.source.read_bytes() if entry.source else entry.data
    return [line.strip() for line in data.decode("utf-8", "replace").splitlines()]


def venv_digest(installs: list[Install]) -> str:
    """Return an environment's digest: of the interpreter, the index, and each install with its files."""
    index = child_variables.selected(build_variables.step_variables(Path(), Path(), {}), child_variables.PIP)
    machine = [sys.version, sys.base_prefix, sys.platform, os.uname().machine]
    content = [machine, sorted(index.items()), [install.key() for install in installs]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def make_venv(folder: Path, installs: list[Install], *, pip_cache: Path) -> bool:
    """Create the environment at `folder` and install into it. Return False if it was already complete.

    `pip_cache` is the clone's own. Clones must not share it, because a build step can write to it.

    The environment is created in its final place, because it cannot be moved, under a lock and with a marker
    at the end; an interrupted one is created again. Raises InstallError with pip's last lines.
    """
    if mark_used(folder):
        return False
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if mark_used(folder):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="copilot-sandbox-home-") as home:
            env = build_variables.step_variables(Path(home), pip_cache, {})
            words = [sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)]
            _run(words, folder.parent, env)
            for install in installs:
                _install(folder, install, env, pip_cache)
        (folder / MARKER).touch()
    return True


def _install(venv: Path, install: Install, env: Mapping[str, str], pip_cache: Path) -> None:
    with scratch.temporary("copilot-sandbox-build-") as root:
        install.tree.write(root)
        work = root / install.folder.strip("/")
        work.mkdir(parents=True, exist_ok=True)
        arguments = [_in_build_folder(word, root, work) for word in install.arguments]
        all_arguments = [argument for word in arguments for argument in word]
        if install.target:
            target_folder = pip_targets.folder_of(venv, install.name)
            target_folder.parent.mkdir(exist_ok=True)
            all_arguments += ["--target", str(target_folder)]
        # -I: pip imports no module from its working folder, which is the branch's.
        words = [sys.executable, "-I", "-m", "pip", "--python", str(venv), "install", *all_arguments]
        try:
            with confined(
                words, readable=_sources(env), writable=[venv, root, *_own_folders(pip_cache, env)]
            ) as inside:
                _run(inside, work, {**env, **install.variables})
        except InstallError as error:
            raise InstallError(
                f"`pip install {shlex.join(install.arguments)}` failed (Dockerfile line {install.line}):"
                f"{error}{build_variables.withheld_note()}".replace(str(root), "")
            ) from error


def _sources(env: Mapping[str, str]) -> list[Path]:
    """Return the folders and files in pip's own variables. `env` has none of the Dockerfile's variables."""
    values = [env[name] for name in child_variables.PIP if name in env]
    words = [word.removeprefix("file://") for value in values for word in value.split()]
    return [Path(word) for word in words if word.startswith("/") and word != "/"]


def _own_folders(pip_cache: Path, env: Mapping[str, str]) -> list[Path]:
    """Return the step's home and cache if they are the sandbox's. The user's own are never returned."""
    places = (Path(tempfile.gettempdir()).resolve(), pip_cache.resolve().parent)
    given = [Path(env[name]).resolve() for name in ("HOME", "PIP_CACHE_DIR") if env.get(name)]
    own = [folder for folder in given if any(place in folder.parents for place in places)]
    return [folder for folder in own if folder != Path.home().resolve()]


def _in_build_folder(word: str, root: Path, work: Path) -> list[str]:
    """Map an image's absolute path to the build's folder, and expand a shell's wildcard."""
    match = re.fullmatch(r"((?:-r|-c|-f|--[a-z-]+=|file://)?)(/.*)", word)
    if match:
        return (
            [*_expand_wildcard(match[1], root / match[2].lstrip("/"))]
            if "*" in word
            else [f"{match[1]}{root}{match[2]}"]
        )
    if "*" in word and "/" in word and not word.startswith("-"):
        return [*_expand_wildcard("", work / word)]
    return [word]


def _expand_wildcard(before: str, path: Path) -> Iterator[str]:
    matches = sorted(path.parent.glob(path.name))
    for match in matches or [path]:
        yield f"{before}{match}"


def _run(words: list[str], folder: Path, env: Mapping[str, str]) -> None:
    done = subprocess.run(
        words,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = [line for line in done.stdout.splitlines() if line.strip()][-_LAST_LINES:]
        raise InstallError("".join(f"\n  {line}" for line in last))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process ends."""
    with path.open("w") as file:
        scratch.lock_within(file, _LOCK_SECONDS, "the environment of the image")
        yield
