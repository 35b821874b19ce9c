"""The installs of a Dockerfile, which are done by pip in one virtual environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox import child_variables, scratch
from copilot_sandbox.agent.confined import confined
from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import build_variables, other_pip, pip_targets, pythons
from copilot_sandbox.images.manager_programs import write_programs
from copilot_sandbox.images.venv_cache import MARKER, mark_used

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from copilot_sandbox.images.pythons import Python
    from copilot_sandbox.images.tree import Tree

_LOCK_SECONDS = 900.0  # for another build with the same installs, as long as a deploy may take
_LAST_LINES = 15
_LONGEST_LINE = 300  # characters
# pip's frame around the output of a build, which is no reason.
_FRAME = re.compile(r"note: |hint: |[│╰\u00d7]|\[end of output\]|error: (?:subprocess-exited|metadata-gen)")
_BUILT_HERE = re.compile(
    r"Getting requirements to build|metadata-generation-failed|Failed (?:to build|building)"
)
# pip's lines for a package that another version of Python is needed for.
_OTHER_PYTHON = re.compile(r"requires? a different [Pp]ython|Requires-Python|requires Python")

_IGNORED = re.compile(r"Ignored the following versions that require a different python version: (.*)")
_WANTED = re.compile(
    r"Could not find a version that satisfies the requirement [^\s=<>!~;]+===?([\w.!+-]+)(?=[\s;])"
)


class InstallError(SandboxError):
    """pip could not install the Dockerfile's packages; the message ends with pip's last lines.

    `output` is all of pip's. `other_python` is the image of FROM if the packages exclude the Python that they
    are installed with.
    """

    output = ""
    other_python = ""


@dataclass(frozen=True)
class Install:
    """One `pip install`, with the files that it reads."""

    arguments: tuple[str, ...]
    folder: str  # its working folder in the image
    tree: Tree
    variables: Mapping[str, str]  # PIP_… from ENV and ARG
    line: int
    target: str = ""  # the image's folder of --target
    shown: str = ""  # the command in the Dockerfile, if it is not pip's
    optional: str = ""  # what is missing if it fails; empty if the build then fails
    base: str = ""  # the image's FROM, for messages

    @property
    def name(self) -> str:
        """Return the path of --target's packages in the environment; empty without it."""
        return pip_targets.folder_name(self.target) if self.target else ""

    @property
    def command(self) -> str:
        return self.shown or f"pip install {shlex.join(self.arguments)}"

    def key(self) -> object:
        files = [
            [path, item.kind, item.sha256 or item.target] for path, item in sorted(self.tree.entries.items())
        ]
        target_key = [self.target] if self.target else []
        return [self.arguments, self.folder, files, sorted(self.variables.items()), *target_key]


def venv_digest(installs: list[Install], programs: Collection[str] = (), python: Python | None = None) -> str:
    """Return an environment's digest: of the interpreter, the index, and each install with its files.

    `programs` are the package managers that the environment has programs for.
    """
    index = child_variables.selected(build_variables.step_variables(Path(), Path(), {}), child_variables.PIP)
    python = python or pythons.own()
    machine = [python.text, python.folder, sys.platform, os.uname().machine]
    parts = [machine, sorted(index.items()), [install.key() for install in installs], *sorted(programs)]
    return hashlib.sha256(json.dumps(["with pip", *parts]).encode()).hexdigest()


def make_venv(
    folder: Path,
    installs: list[Install],
    *,
    pip_cache: Path,
    programs: Collection[str] = (),
    python: Python | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
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
        pip_cache.mkdir(mode=0o700, parents=True, exist_ok=True)  # a step sees only folders that exist
        with tempfile.TemporaryDirectory(prefix="copilot-sandbox-home-") as home:
            env = build_variables.step_variables(Path(home), pip_cache, {})
            python = python or pythons.own()
            words = [python.program, "-I", "-m", "venv", "--without-pip", str(folder)]
            _run(words, folder.parent, env)
            other_pip.add(folder)
            for install in installs:
                try:
                    _install(folder, install, env, pip_cache, python)
                except InstallError as error:
                    if not install.optional:
                        raise
                    last = str(error).splitlines()[-1]
                    say(f"sandbox: line {install.line}: {install.optional}: {last}")
            write_programs(folder / "bin", programs)
        (folder / MARKER).touch()
    return True


def _install(venv: Path, install: Install, env: Mapping[str, str], pip_cache: Path, python: Python) -> None:
    with scratch.temporary("copilot-sandbox-build-") as root:
        install.tree.write(root)
        work = root / install.folder.strip("/")
        work.mkdir(parents=True, exist_ok=True)
        arguments = [_in_build_folder(word, root, work) for word in install.arguments]
        all_arguments = [argument for word in arguments for argument in word]
        if install.target:
            target_folder = pip_targets.folder_of(venv, install.name)
            target_folder.parent.mkdir(parents=True, exist_ok=True)
            all_arguments += ["--target", str(target_folder)]
        of_python = [] if python.is_own else [Path(python.folder)]

        def run(pip: Sequence[str], arguments: Sequence[str]) -> None:
            # -I: pip imports no module from its working folder, which is the branch's.
            with confined(
                [sys.executable, "-I", *pip, "--python", str(venv), "install", *arguments],
                readable=[*_sources(env), *of_python],
                writable=[venv, root, *_own_folders(pip_cache, env)],
            ) as inside:
                _run(inside, work, {**env, **install.variables})

        try:
            other_pip.install(run, all_arguments, venv, InstallError)
        except InstallError as error:
            reason = _reason(str(error))
            # The end matters most: Copilot shows a build's last five lines.
            failed = InstallError(
                f"pip's last lines:{error}{build_variables.withheld_note()}\n"
                f"`{install.command}` failed (Dockerfile line {install.line}): "
                f"{reason}{_note(error.output, install, python)}".replace(str(root), "")
            )
            failed.other_python = install.base if _excludes_python(error.output) else ""
            raise failed from error


def _reason(output: str) -> str:
    """Return the last of pip's lines that says something of its own."""
    lines = [line.strip() for line in output.splitlines()]
    found = [line for line in lines if not _FRAME.match(line)] or lines
    return found[-1].removeprefix("ERROR: ")


def _note(output: str, install: Install, python: Python) -> str:
    """Return a sentence on what to do, where pip's lines show it."""
    if _excludes_python(output):
        return f". {python_advice(install.base, python)}"
    if _BUILT_HERE.search(output):
        return (
            ". A package has no wheel here and is built from its source: without an engine no apt-get is "
            "carried out, so install what the Dockerfile installs for that (compilers, headers, libraries) "
            "on this machine too, or install an engine, Podman."
        )
    return ""


def _excludes_python(output: str) -> bool:
    """Return True if a package was refused because of this Python.

    pip lists the versions that it ignored for that also where the wanted one does not exist at all.
    """
    ignored, wanted = _IGNORED.search(output), _WANTED.search(output)
    if ignored and wanted:
        return wanted[1] in ignored[1].replace(";", " ").split()
    return _OTHER_PYTHON.search(output) is not None


def python_advice(base: str, python: Python) -> str:
    """Return a sentence with the two versions of Python and what to do."""
    of_image = f"The image is built from {base}; the" if base else "The"
    if not python.is_own:
        return f"{of_image} sandbox installs with {python.program}, Python {python.number}."
    return (
        f"{of_image} sandbox runs on its own Python, {python.number}: install the project's Python on this "
        "machine (`uv python install`, pyenv, your system's packages), or make the environment that the "
        "sandbox is installed in with it, and start the sandbox anew."
    )


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
        failed = InstallError("".join(f"\n  {_shortened(line)}" for line in last))
        failed.output = done.stdout
        raise failed


def _shortened(line: str) -> str:
    """Return a line without the end of a long one: pip lists all versions of a package."""
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process ends."""
    with path.open("w") as file:
        scratch.lock_within(file, _LOCK_SECONDS, "the environment of the image")
        yield
