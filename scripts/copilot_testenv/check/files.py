"""Rules on CI files and scripts that call Copilot, and on the Dockerfiles that manifests name."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from copilot_testenv.check import dockerfile, shell_text
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.check.shell_text import Simple
from copilot_testenv.copilot import manifest
from copilot_testenv.core import git
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.process import Command

_HADOLINT = (".hadolint.yaml", ".hadolint.yml")
# Hadolint's rules on what a build refuses: ports that are none, COPY from the stage itself, stages of the
# same name, ONBUILD FROM, and what stands before FROM. Not DL3021: BuildKit takes a folder without `/` at
# its end. Source of that: https://github.com/docker/docs/pull/13208
_REFUSED = frozenset({"DL3011", "DL3023", "DL3024", "DL3043", "DL3061"})
_CI = re.compile(
    r"(^|/)(\.github/.*\.ya?ml|\.gitlab-ci.*\.ya?ml|\.gitlab/.*\.ya?ml|bitbucket-pipelines\.yml|buildspec[^/]*\.ya?ml"
    r"|azure-pipelines[^/]*\.ya?ml|\.circleci/.*\.ya?ml|\.drone\.yml|\.travis\.yml|copilot/pipelines/.*\.ya?ml"
    r"|Taskfile\.ya?ml|\.pre-commit-config\.yaml)$"
)
_SCRIPT = re.compile(
    r"(^|/)(Jenkinsfile[^/]*|GNUmakefile|[Mm]akefile|[Jj]ustfile|Procfile|package\.json|tox\.ini|pyproject\.toml"
    r"|tasks\.py|noxfile\.py|fabfile\.py|[^/]+\.(sh|bash|zsh|mk))$|(^|/)(scripts|bin|ci|\.ci)/[^/]+(/[^/]+)*$"
)
_NOT_RUN = frozenset(
    [
        "name",
        "displayName",
        "description",
        "title",
        "label",
        "message",
        "summary",
        "help",
        "if",
        "condition",
        "workingDirectory",
    ]
)
_WORKLOADS = frozenset({"svc", "job"})
# Between the two words there are only flags, and what joins the words of a list.
_DELETES = re.compile(r"\b(?:svc|job)\b.{0,200}?\bdelete\b", re.DOTALL)
# Python functions (of subprocess, os, Invoke, Fabric, nox) that run the text or list in their arguments.
_RUNNING = frozenset(
    ["run", "call", "check_call", "check_output", "Popen", "system", "popen", "sudo", "local", "shell"]
)
_NAMING = frozenset({"-n", "--name", "-a", "--app"})  # the word after one of these is not a flag
_SEVERAL = re.compile(r"\$[@*]|\$\{\w+\[[@*]\]\}")  # these expand to several words, which may be flags
# Text that a script prints to the terminal with `cat <<END`.
_PRINTED = re.compile(
    r"""^([^\n]*\bcat\b(?:[^\n|>;&]|>&2)*<<-?\s*(['"]?)(\w+)\2(?:[^\n|>]|>&2)*\n)(.*?)^\s*\3\s*$""",
    re.MULTILINE | re.DOTALL,
)
# `${X:?}` ends the script if X is empty; `${X:-test}` has another value then.
_KEPT_FROM_EMPTY = re.compile(r"\$\{\w+:\?[^}]*\}|\$\{\w+:[-=][^}$]+\}")
_VARIABLE = re.compile(
    r"\$\{\{.*?\}\}|\{\{.*?\}\}|\$\{[^}]*\}|\$\([^)]*\)|\$[A-Za-z_]\w*|\$[\d@*]|\$$|%\w+%", re.DOTALL
)
_UNKNOWN = "$UNKNOWN"  # a value that the program computes
# Text that a Jenkins step passes to the shell.
_GROOVY = re.compile(r"""\b(?:sh|bat)\b[\s(]*(?:script\s*:\s*)?('{3}|"{3}|'|")(.*?)\1""", re.DOTALL)


def deletions(project: Project) -> Iterator[Finding]:
    """Find `copilot svc delete` without `--env`: it deletes the service from every environment."""
    for path in _tracked(project):
        if not _CI.search(path) and not _SCRIPT.search(path):
            continue
        text = None if (project.root / path).is_symlink() else dockerfile.text_of(project.root, path)
        for simple in _commands(path, text) if text and _may_delete(text) else ():
            deletion = _deletion(simple)
            if deletion:
                severity, what = deletion
                instead = "write `--env` with the environment's name"
                if severity == "warning":
                    instead += ', or `--env "${NAME:?}"`, which ends where it is empty'
                yield Finding(path, simple.line, "svc-delete", severity, what, instead)


def built(project: Project) -> Iterator[Finding]:
    """Find missing Dockerfiles that a manifest names: Copilot notices only when it deploys."""
    for path, (where, line) in sorted(named(project).items()):
        beside = (project.root / path).resolve()
        if not beside.is_file() or not beside.is_relative_to(dockerfile.top_of(project.root)):
            what = f"`image.build` names {path}, which is not a file of this repository"
            yield Finding(where, line, "dockerfile", "error", what, "write the path of the Dockerfile")
    for document, keys, build in _builds(project):
        context = (project.root / build.context).resolve()
        is_written = isinstance(document.get(*keys, "context"), str)
        if is_written and "${" not in build.context and not context.is_dir():
            what = f"`image.build.context` names {build.context}, which is not a folder of this repository"
            line = document.line(*keys, "context")
            yield Finding(document.path, line, "dockerfile", "error", what, "write the path of the folder")


def dockerfiles(project: Project) -> Iterator[Finding]:
    """Run hadolint on each Dockerfile that a manifest names.

    Its rules on what no builder takes are errors. The others are about style: they are warnings where the
    repository has settings of hadolint.
    """
    paths = sorted(path for path in named(project) if dockerfile.inside(project.root, path))
    if not paths:
        return
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.is_file() else shutil.which("hadolint")
    if not program:
        project.notes.append(
            "hadolint is not installed, so no Dockerfile was looked at: requirements-sandbox.txt brings it."
        )
        return
    words = (program, "--no-fail", "--format", "json", "--", *paths)
    try:
        done = project.shell.run(Command(words, cwd=project.root))
        found = json.loads(done.stdout)
    except (UserError, ValueError) as error:
        project.notes.append(f"hadolint could not look at {', '.join(paths)}: {error}")
        return
    has_settings = any((project.root / name).is_file() for name in _HADOLINT)
    for each in found:
        code = str(each["code"])
        if code not in _REFUSED and not has_settings:
            continue
        yield Finding(
            str(each["file"]),
            int(each["line"]),
            "hadolint",
            "error" if code in _REFUSED else "warning",
            f"hadolint {code}",
            f"{' '.join(str(each['message']).split())} ({_page(code)})",
        )


def _page(code: str) -> str:
    wiki = (
        "https://www.shellcheck.net/wiki"
        if code.startswith("SC")
        else "https://github.com/hadolint/hadolint/wiki"
    )
    return f"{wiki}/{code}"


def named(project: Project) -> dict[str, tuple[str, int]]:
    """Return each Dockerfile that an `image.build` names, with the manifest and line that name it."""
    places: dict[str, tuple[str, int]] = {}
    for document, keys, build in _builds(project):
        place = (document.path, document.line(*keys, "dockerfile"))
        places.setdefault(PurePosixPath(build.dockerfile).as_posix(), place)
    return places


def _builds(project: Project) -> Iterator[tuple[Document, tuple[str, ...], manifest.Build]]:
    """Yield each `image.build` with its manifest and keys."""

    def look(at: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], manifest.Build]]:
        if isinstance(at, dict):
            image = at.get("image")
            if build := manifest.build(image.get("build")) if isinstance(image, dict) else None:
                yield (*keys, "image", "build"), build
            for key, inner in at.items():
                yield from look(inner, (*keys, str(key)))

    for document in project.services.values():
        yield from ((document, keys, build) for keys, build in look(document.data, ()))


def _may_delete(text: str) -> bool:
    """Return True if the text may delete a service. Most files do not, and need not be parsed."""
    return bool(_DELETES.search(text)) and "copilot" in text.lower()


def _tracked(project: Project) -> list[str]:
    """Return the files that Git tracks and that have all words of a deletion, in upper or lower case."""
    words = ("copilot", "delete", "svc|job")
    options = ("grep", "-E", "-l", "-z", "-i", "--all-match", *(f"-e{word}" for word in words), "--", ":/")
    try:
        done = project.shell.run(git.command(project.root, *options, more=("grep.fullName=false",)))
    except UserError as error:
        project.notes.append(f"CI files and scripts were not looked at: {error}")
        return []
    if done.returncode > 1:  # 1: there is none
        project.notes.append(f"CI files and scripts were not looked at: {done.stderr.strip()}")
    return [path for path in done.stdout.split("\0") if path]


def _commands(path: str, text: str) -> Iterator[Simple]:
    """Yield the commands that a file runs, as far as its text shows them."""
    name = PurePosixPath(path).name
    text = _PRINTED.sub(lambda found: found[1] + "\n" * found[4].count("\n"), text)
    # An expression of CI or a variable of make is one word.
    text = re.sub(r"\$?\{\{.*?\}\}", lambda found: re.sub(r"[^\w.${}-]", "", found[0]), text)
    text = re.sub(r"\$\((\w+)\)", r"${\1}", text)
    if name.endswith((".yml", ".yaml", ".json")):
        yield from _of_yaml(text.replace("\t", " "))  # YAML takes no tabs where JSON does
    elif name.endswith(".py") or text.startswith(("#!/usr/bin/env python", "#!/usr/bin/python")):
        yield from _of_python(text)
    elif name.startswith("Jenkinsfile"):
        for found in _GROOVY.finditer(text):
            yield from shell_text.commands(found[2], text.count("\n", 0, found.start(2)) + 1)
    elif name in {"tox.ini", "pyproject.toml"}:
        for number, line in enumerate(text.splitlines(), 1):
            yield from shell_text.commands(_bare(line), number)
    else:
        yield from shell_text.commands(text)


def _bare(line: str) -> str:
    """Return a line of an INI or TOML file without its key, brackets and the quotes around it all."""
    key = re.match(r"\s*([\w.-]+)\s*=\s*", line)
    if key and key[1] in _NOT_RUN:
        return ""
    value = line[key.end() if key else 0 :].strip(" \t[],")
    listed = re.sub(r"""(['"])\s*,""", r"\1 ", value)
    quoted = re.fullmatch(r"""(['"])((?:(?!\1).)*)\1""", listed)
    return quoted[2] if quoted else listed


def _of_yaml(text: str) -> Iterator[Simple]:
    """Yield the commands of every text of the document, except under keys that hold a name or description."""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):  # a file included by GitLab can be a template
        yield from shell_text.commands(text)
        return
    waiting: list[Any] = [each for each in documents if each]
    seen: set[int] = set()  # the node of an anchor appears in several places
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [value for key, value in node.value if key.value not in _NOT_RUN]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
            words = [each.value for each in node.value if isinstance(each, yaml.ScalarNode)]
            yield Simple(tuple(words), node.start_mark.line + 1)
        elif "copilot" in node.value:
            is_block = node.style in {"|", ">"}  # its text begins on the line after
            for simple in shell_text.commands(node.value, node.start_mark.line + 1 + is_block):
                yield Simple(simple.words, min(simple.line, node.end_mark.line + 1))


def _of_python(text: str) -> Iterator[Simple]:
    """Yield the lists and texts of a Python file that are commands.

    A text counts if it begins with `copilot` or is an argument of a function that runs it; other texts are
    only printed or raised.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: the nesting is too deep
        return
    ignored: set[int] = set()  # docstrings, and parts of texts that are examined as a whole
    run: set[int] = set()
    for node in ast.walk(tree):  # a node comes before its children
        if isinstance(node, ast.Call) and _function_name(node) in _RUNNING:
            run.update(map(id, node.args[:2]))  # the first argument may be a context
            yield Simple(tuple(map(_word, node.args)), node.lineno)
        if isinstance(node, ast.Expr):
            ignored.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            ignored.update(map(id, node.values))
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Constant | ast.JoinedStr):
            script = _word(node)
            if id(node) in run or re.match(r"\s*\S*copilot\s|.*[;&|]\s*\S*copilot\s", script, re.DOTALL):
                yield from (Simple(simple.words, node.lineno) for simple in shell_text.commands(script))
        elif isinstance(node, ast.List | ast.Tuple):
            yield Simple(tuple(map(_word, node.elts)), node.lineno)


def _function_name(node: ast.Call) -> str:
    """Return the name of the called function, without its module or object."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _word(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else _UNKNOWN
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else _UNKNOWN for part in node.values
        )
    return "$@" if isinstance(node, ast.Starred) else _UNKNOWN


def _deletion(simple: Simple) -> tuple[Any, str] | None:
    """Return severity and message if the command may delete a service from every environment; else None."""
    words = [] if simple.only_prints else _deletion_words(simple.words)
    if not words or {"-h", "--help"} & set(words):
        return None
    command = f"copilot {' '.join(_without_flags(words)[:2])}"
    given = _environment(words)
    everywhere = "deletes it from every environment, production included"
    if given is None and (unknown := _may_hold_a_flag(words)):
        return "warning", f"`{command}` without `--env` {everywhere}, unless {_shown(unknown)} holds one"
    if given is None:
        return "error", f"`{command}` without `--env` {everywhere}"
    if not given.strip():
        return "error", f"`{command}` with an empty `--env` {everywhere}"
    rest = _VARIABLE.sub("", _KEPT_FROM_EMPTY.sub("kept", given))
    if not rest.strip():
        return "warning", f"`{command}` with `--env {_shown(given)}` {everywhere}, should that be empty"
    return None


def _deletion_words(words: Sequence[str]) -> list[str]:
    """Return the words after Copilot's name if they delete a service or job; else an empty list.

    Words before Copilot's name are ignored, because too many programs can start Copilot: `sudo -E`,
    `docker compose run --rm tools`, `doppler run --`, `xargs`.
    """
    for position, word in enumerate(words):
        name = shell_text.name_of(word.lstrip("@-"))
        if re.fullmatch(r"copilot(-linux|-darwin)?(-\w+)?(\.exe)?|\$\{?COPILOT\w*\}?", name):
            after = list(words[position + 1 :])
            noun, verb, *_ = *_without_flags(after), "", ""
            if noun in _WORKLOADS and verb == "delete":
                return after
    return []


def _without_flags(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("-")]


def _may_hold_a_flag(words: Sequence[str]) -> str:
    """Return the first word that is a variable and not a flag's value; empty if there is none."""
    for before, word in pairwise(words):
        if _SEVERAL.fullmatch(word) or (before not in _NAMING and _VARIABLE.fullmatch(word)):
            return word
    return ""


def _environment(words: Sequence[str]) -> str | None:
    """Return the value of `--env` or `-e`; None if the command does not have it."""
    for position, word in enumerate(words):
        if word in {"--env", "-e"}:
            return words[position + 1] if position + 1 < len(words) else ""
        if found := re.match(r"--env=|-e=?(?=.)", word):
            return word[found.end() :]
    return None


def _shown(given: str) -> str:
    return given if given not in {_UNKNOWN, "$@"} else "…"


RULES = (deletions, built, dockerfiles)
