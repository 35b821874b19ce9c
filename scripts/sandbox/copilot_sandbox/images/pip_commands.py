"""The words of `pip install`: which files an install reads, and which options choose a place."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox.images.tree import Entry, Tree, hash_file

if TYPE_CHECKING:
    from collections.abc import Iterator

# Options that are dropped, with the number of words that follow. They choose a place, which is always the one
# environment here (--target: see `pip_targets`), or they switch off pip's cache, which would only slow down
# the next build.
_DROPPED = {
    "--break-system-packages": 0,
    "--no-cache-dir": 0,
    "--cache-dir": 1,
    "--user": 0,
    "--prefix": 1,
    "--python": 1,
    "--root": 1,
    "--root-user-action": 1,
    "--target": 1,
    "-t": 1,
}
# Package managers and builders: what they install is translated, so they themselves are not needed.
_TOOLS = frozenset(
    {"build", "pdm", "pip-tools", "pipenv", "pipx", "poetry", "poetry-plugin-export", "uv", "virtualenv"}
)
_MODULES = frozenset({"pip", "pipenv", "pipx", "poetry", "uv", "pdm", "venv", "virtualenv", "build"})
_WITH_VALUE = frozenset(
    {
        "-r",
        "--requirement",
        "-c",
        "--constraint",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
    }
    | {"--trusted-host", "--no-binary", "--only-binary", "--timeout", "--retries", "--progress-bar", "--cert"}
    | {
        "--proxy",
        "--config-settings",
        "-C",
        "--global-option",
        "--upgrade-strategy",
        "--cache-dir",
        "--report",
    }
)
_PACKAGES = (".whl", ".tar.gz", ".zip")
_FILES = ("-r", "--requirement", "-c", "--constraint")


def plain_module(words: list[str]) -> list[str]:
    """Return `pip …` for `python -m pip …`; other commands, and other modules than managers, unchanged."""
    program = posixpath.basename(words[0]) if words else ""
    if not re.fullmatch(r"python[\d.]*", program):
        return words
    rest = words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest = rest[1:]
    return rest[1:] if rest[:1] == ["-m"] and rest[1:2] and rest[1] in _MODULES else words


def pip_arguments(words: list[str], *subcommands: str) -> tuple[str, ...] | None:
    """Return the words after `pip install` or `python -m pip install`, without those that name a place.

    Return None for another command. `subcommands` are accepted in the place of `install`.
    """
    words = plain_module(words)
    if not words or not re.fullmatch(r"pip[\d.]*", posixpath.basename(words[0])):
        return None
    rest = words[1:]
    before = []
    while rest and rest[0].startswith("-"):
        before.append(rest[0])
        rest = rest[1:]
    if not rest or rest[0] not in (subcommands or ("install",)):
        return None
    return tuple(_without_places([*before, *rest[1:]]))


def split_tools(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], set[str]]:
    """Return an install's arguments without package managers, and those. They are not installed here.

    Without requirements no arguments are left.
    """
    kept, tools = [], set()
    todo = list(arguments)
    has_requirements = False
    while todo:
        word = todo.pop(0)
        name = re.match(r"[A-Za-z0-9][\w.-]*", word)
        if word in _WITH_VALUE and todo:
            has_requirements |= word in ("-r", "--requirement")
            kept += [word, todo.pop(0)]
            continue
        if name and re.sub(r"[-_.]+", "-", name[0]).lower() in _TOOLS and "/" not in word:
            tools.add(name[0].lower())
            continue
        has_requirements |= not word.startswith("-") or word.startswith(("-r", "--requirement="))
        kept.append(word)
    return (tuple(kept) if has_requirements else (), tools)


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


def inputs(arguments: tuple[str, ...], folder: str, tree: Tree) -> Tree:
    """Return the files that an install reads: requirements files and packages, or all files."""
    listed = _file_arguments(list(arguments))
    chosen = Tree()
    for word in listed.others:
        path = tree.resolve(posixpath.join(folder, word))
        entry = tree.get(path) if word.endswith(_PACKAGES) else None
        if entry is not None and entry.kind == "file":
            chosen.put(path, entry)
        elif _may_be_a_path(word, folder, tree):
            return tree
    pending = [posixpath.join(folder, file) for file in listed.files]
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


def hashed(tree: Tree) -> Tree:
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
        or word.endswith(_PACKAGES)
        or "*" in word
        or ("/" in word and tree.get(tree.resolve(posixpath.join(folder, word))) is not None)
    )


def _lines(entry: Entry) -> list[str]:
    data = entry.source.read_bytes() if entry.source else entry.data
    # PowerShell writes requirements in UTF-16 (`pip freeze > requirements.txt`), and pip reads them.
    return [line.strip() for line in data.decode(json.detect_encoding(data), "replace").splitlines()]


# Options of `uv pip` that pip has not, with the number of words that follow; and what pip calls others.
_UV_ONLY = {
    **dict.fromkeys(
        ("--system", "--no-cache", "-n", "--compile-bytecode", "--no-progress", "--strict", "--exact"), 0
    ),
    **dict.fromkeys(
        ("--native-tls", "--no-verify-hashes", "--reinstall", "--all-extras", "--offline", "--no-config"), 0
    ),
    **dict.fromkeys(("--no-break-system-packages", "--no-build", "--refresh", "--no-index-strategy"), 0),
    **dict.fromkeys(
        ("--link-mode", "--index-strategy", "--prerelease", "--resolution", "--torch-backend", "-p"), 1
    ),
    **dict.fromkeys(
        ("--override", "--extra", "--group", "--python-version", "--python-platform", "--exclude-newer"), 1
    ),
}
_UV_NAMES = {"--index": "--extra-index-url", "--default-index": "--index-url", "--constraints": "-c"}


def uv_arguments(words: list[str]) -> list[str]:
    kept = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        name, equals, value = word.partition("=")
        if name in _UV_ONLY:
            del todo[: 0 if equals else _UV_ONLY[name]]
        elif name in _UV_NAMES:
            kept += [_UV_NAMES[name], value if equals else todo.pop(0) if todo else ""]
        else:
            kept.append(word)
    return kept


def option_value(words: list[str], *names: str) -> str:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else "".join(words[number + 1 : number + 2])
    return ""


def without_options(words: tuple[str, ...], *names: str) -> list[str]:
    kept = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        name, equals, _ = word.partition("=")
        if name not in names:
            kept.append(word)
        elif not equals:
            del todo[:1]
    return kept
