"""The commands of poetry, Pipenv, uv and pdm: which installs of pip they become here."""

from __future__ import annotations

import json
import posixpath
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from copilot_sandbox import child_variables
from copilot_sandbox.boot import SOURCES
from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import pythons
from copilot_sandbox.images.pip_commands import hashed
from copilot_sandbox.images.tree import CopyError, Tree, file_of
from copilot_sandbox.images.venvs import Install, python_advice

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = 60  # for one lock file
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from copilot_sandbox.images.locks import main; main(sys.argv[2])"
)
_FILES = {
    "poetry": ("pyproject.toml", "poetry.lock"),
    "pipenv": ("Pipfile", "Pipfile.lock"),
    "uv": ("pyproject.toml", "uv.lock"),
    "pdm": ("pyproject.toml", "pdm.lock"),
    "project": ("pyproject.toml",),
}
# Options that a value follows; the others are flags.
_VALUES = frozenset(
    {
        "--only",
        "--with",
        "--without",
        "--extras",
        "-E",
        "--directory",
        "-C",
        "--project",
        "-P",
        "-p",
        "--format",
        "-f",
    }
    | {
        "--output",
        "--output-file",
        "-o",
        "--group",
        "-G",
        "--only-group",
        "--no-group",
        "--extra",
        "--no-extra",
    }
    | {
        "--package",
        "--no-install-package",
        "--python",
        "--link-mode",
        "--index-strategy",
        "--index",
        "--default-index",
    }
    | {
        "--index-url",
        "--extra-index-url",
        "--categories",
        "--pypi-mirror",
        "--no-build-package",
        "--no-binary-package",
    }
    | {
        "--config-setting",
        "--prerelease",
        "--resolution",
        "--cache-dir",
        "--allow-insecure-host",
        "--lockfile",
        "-L",
    }
    | {
        "--no-emit-package",
        "--prune",
        "--find-links",
        "--exclude-newer",
        "--python-platform",
        "--without-group",
    }
)


class LockFileError(SandboxError):
    """A lock file cannot be translated, or the project excludes this Python; the message names the line.

    `other_python` is the image of FROM in the second case.
    """

    other_python = ""


@dataclass(frozen=True)
class Words:
    """A command's options by name, and its other words."""

    options: Mapping[str, list[str]]
    others: list[str]

    def all(self, *names: str) -> list[str]:
        """Return the options' values; lists with commas or spaces are taken apart."""
        values = [value for name in names for value in self.options.get(name, [])]
        return [part for value in values for part in value.replace(",", " ").split()]

    def has(self, *names: str) -> bool:
        return any(name in self.options for name in names)

    def last(self, *names: str) -> str:
        values = [value for name in names for value in self.options.get(name, [])]
        return values[-1] if values else ""


def split_options(words: list[str]) -> Words:
    options: dict[str, list[str]] = {}
    others = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            others.append(word)
        elif equals:
            options.setdefault(name, []).append(value)
        elif name in _VALUES and todo:
            options.setdefault(name, []).append(todo.pop(0))
        else:
            options.setdefault(name, [])
    return Words(options, others)


@dataclass
class Request:
    """The selection that a command makes of a project's files; see `locks`."""

    tool: str
    groups: set[str] = field(default_factory=set)
    extras: set[str] = field(default_factory=set)
    without: set[str] = field(default_factory=set)
    all_extras: bool = False
    only: bool = False
    default_groups: bool = False
    package: str = ""
    any_member: bool = False


def poetry_request(words: Words, variables: Mapping[str, str]) -> Request:
    del variables
    only = {"main"} if words.has("--no-dev") else set(words.all("--only"))
    return Request(
        "poetry",
        groups=only or set(words.all("--with")) | ({"dev"} if words.has("--dev", "--all-groups") else set()),
        extras=set(words.all("--extras", "-E")),
        without=set(words.all("--without")),
        all_extras=words.has("--all-extras"),
        only=bool(only) or words.has("--only-root"),
        default_groups=True,
    )


def pipenv_request(words: Words, variables: Mapping[str, str]) -> Request:
    del variables
    dev = words.has("--dev", "-d", "--dev-only")
    categories = {"default" if each == "packages" else each for each in words.all("--categories")}
    return Request(
        "pipenv",
        groups=(categories - {"default"}) | ({"dev"} if dev else set()),
        only=words.has("--dev-only") or bool(categories and "default" not in categories),
    )


def uv_request(words: Words, variables: Mapping[str, str]) -> Request:
    no_dev = words.has("--no-dev") or variables.get("UV_NO_DEV", "").lower() in ("1", "true")
    only = set(words.all("--only-group")) | ({"dev"} if words.has("--only-dev") else set())
    without = {*words.all("--no-group"), *({"dev"} if no_dev else set())}
    return Request(
        "uv",
        groups=only | set(words.all("--group")) | ({"dev"} if words.has("--dev") else set()),
        extras=set(words.all("--extra")),
        without=without,
        all_extras=words.has("--all-extras"),
        only=bool(only),
        default_groups=not only and not words.has("--no-default-groups"),
        package=words.last("--package"),
        any_member=words.has("--all-packages"),
    )


def pdm_request(words: Words, variables: Mapping[str, str]) -> Request:
    del variables
    groups = set(words.all("-G", "--group", "--with"))
    prod = words.has("--prod", "--production", "--no-dev")
    return Request(
        "pdm", groups=groups | (set() if prod else {"dev"}), extras=groups, only=words.has("--no-default")
    )


REQUESTS = {"poetry": poetry_request, "pipenv": pipenv_request, "uv": uv_request, "pdm": pdm_request}


@dataclass(frozen=True)
class Place:
    """The surroundings of a command: the image's files, the working folder and the line."""

    tree: Tree
    folder: str
    line: int
    variables: Mapping[str, str]  # pip's
    command: str
    base: str


def find_folder(place: Place, name: str) -> str | None:
    """Return the folder of a project's file, which may be above the working folder."""
    folder = place.folder
    while True:
        if _text(place.tree, posixpath.join(folder, name)) is not None:
            return folder
        if folder == "/":
            return None
        folder = posixpath.dirname(folder)


def _text(tree: Tree, path: str) -> str | None:
    try:
        entry = tree.get(tree.resolve(path))
        return entry.text() if entry is not None and entry.kind == "file" else None
    except (CopyError, UnicodeDecodeError, OSError):
        return None


@dataclass(frozen=True)
class Translated:
    folder: str
    answer: Mapping[str, Any]

    @property
    def requirements(self) -> str:
        """Return the text of a requirements file, as `poetry export` and its like write it."""
        lines = [*self._indexes(), *self.answer["pinned"], *self.answer["loose"], *self.answer["direct"]]
        return "\n".join([*lines, *(f"./{path}" for path in self.answer["paths"]), ""])

    def _indexes(self) -> list[str]:
        return [f"--extra-index-url {url}" for url in self.answer["indexes"]]

    def installs(self, place: Place, *, project: bool) -> list[Install]:
        """Return the installs of pip: pinned requirements first, the project itself last."""
        answer = self.answer
        installs = []
        for name, options in (("pinned", ["--no-deps"]), ("loose", []), ("direct", ["--no-deps"])):
            if not answer[name]:
                continue
            file = f"/.copilot-sandbox/{name}.txt"
            tree = Tree()
            tree.put(file, file_of("\n".join([*self._indexes(), *answer[name], ""]).encode()))
            installs.append(self._install(place, [*options, "-r", file], tree))
        for path in answer["paths"]:
            folder = posixpath.normpath(posixpath.join(self.folder, path))
            installs.append(self._install(place, ["--no-deps", folder], part_of(place.tree, folder)))
        if project and answer["project"]:
            tree = part_of(place.tree, self.folder)
            if any(path.endswith(".py") for path in tree.entries):  # else its files are copied later
                missing = "the project itself is not installed"
                installs.append(
                    replace(self._install(place, ["--no-deps", self.folder], tree), optional=missing)
                )
        return installs

    def _install(self, place: Place, arguments: list[str], tree: Tree) -> Install:
        return Install(
            tuple(arguments),
            self.folder,
            tree,
            place.variables,
            place.line,
            shown=place.command,
            base=place.base,
        )


def part_of(tree: Tree, path: str) -> Tree:
    """Return a folder or file of the image with all that is below it, with hashes."""
    part = Tree()
    entry = tree.get(path)
    if entry is not None and path != "/":
        part.put(path, entry)
    for inner, inner_entry in tree.below(path):
        part.put(inner, inner_entry)
    return hashed(part)


def translate(request: Request, place: Place) -> Translated:
    """Translate a project's lock file, or what it declares if there is none. Raises LockFileError."""
    names = _FILES[request.tool]
    folder = find_folder(place, names[0])
    if folder is None:
        folder = find_folder(place, names[-1])
    if folder is None:
        raise LockFileError(
            f"Dockerfile line {place.line}: `{place.command}` failed: {names[0]} is not in {place.folder} "
            f"of the image: copy it there before this step."
        )
    files = {
        name: text for name in names if (text := _text(place.tree, posixpath.join(folder, name))) is not None
    }
    document = {
        **request.__dict__,
        **{name: sorted(getattr(request, name)) for name in ("groups", "extras", "without")},
        "files": files,
    }
    python = pythons.for_images([place.base])
    answer = json.loads(_answer(json.dumps(document, sort_keys=True), python.number))
    if "error" in answer:
        raise LockFileError(f"Dockerfile line {place.line}: `{place.command}` failed: {answer['error']}")
    if answer["python"]:
        failed = LockFileError(
            f"Dockerfile line {place.line}: `{place.command}` cannot be done: {names[0]} requires Python "
            f"{answer['python']}. {python_advice(place.base, python)}"
        )
        failed.other_python = place.base
        raise failed
    return Translated(folder, answer)


@cache
def _answer(document: str, python: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CODE, SOURCES, python],
            check=False,
            input=document,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={"PATH": child_variables.path(), **child_variables.mark()},
        )
    except subprocess.TimeoutExpired:
        return json.dumps({"error": f"the lock file was not read within {_SECONDS} s"})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return json.dumps({"error": f"the lock file cannot be read: {last}"})
    return done.stdout
