"""Find instructions of Dockerfiles that a build refuses, and hadolint does not report."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from copilot_testenv.check import dockerfile, files
from copilot_testenv.check.finding import Finding, Severity
from copilot_testenv.check.project import Project

# Source: https://docs.docker.com/reference/dockerfile/
_KNOWN = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
_ESCAPE = re.compile(r"^\s*#\s*escape\s*=", re.IGNORECASE | re.MULTILINE)
_COPIED = re.compile(r"\s*COPY\s+(?:--\S+\s+)*?--from=([\w.-]+)(?=\s)", re.IGNORECASE)
_MEANT = 0.8  # similarity from which a stage is meant


def wrong(project: Project) -> Iterator[Finding]:
    """Find misspelt instructions, and copies from a stage that is called almost like an earlier one."""
    for path in files.named(project):
        text = dockerfile.text_of(project.root, path) or ""
        if _ESCAPE.search(text):
            continue  # lines are continued in another way
        stages: list[str] = []
        for line, instruction in dockerfile.instructions(text):
            word = (instruction.split() or [""])[0]
            near = difflib.get_close_matches(word.upper(), _KNOWN, 1)
            if word and near and word.upper() not in _KNOWN:
                what = f"a Dockerfile has no instruction {word}"
                yield Finding(path, line, "instruction", "error", what, f"write `{near[0]}`")
            if misread := _misread(instruction):
                yield Finding(path, line, "instruction", *misread)
            copied = _COPIED.match(instruction)
            name = copied[1].lower() if copied else ""
            meant = difflib.get_close_matches(name, [each for each in stages if each], 1, _MEANT)
            if meant and name not in stages:
                what = f"no earlier stage is called {name}, so the build looks for an image of that name"
                yield Finding(path, line, "stage", "warning", what, f"write `{meant[0]}` if that is meant")
            stages += dockerfile.stages(instruction)


def _misread(instruction: str) -> tuple[Severity, str, str] | None:
    """Return what a build makes of this instruction that cannot be meant; None where there is nothing."""
    word, _, rest = instruction.strip().partition(" ")
    rest = rest.strip()
    if word.upper() in {"CMD", "ENTRYPOINT"} and re.fullmatch(r"\[\s*'.*'\s*\]", rest):
        what = f"this {word} is no list in JSON, so a shell gets it with its brackets"
        return "error", what, "write double quotes"
    paths = [each for each in rest.split() if not each.startswith("--")]
    if word.upper() in {"COPY", "ADD"} and len(paths) == 1 and not re.search(r"[\[$]|<<", rest):
        return "error", f"this {word} has no destination", f"write it as in `{word} {paths[0]} ./`"
    return None


RULES = (wrong,)
