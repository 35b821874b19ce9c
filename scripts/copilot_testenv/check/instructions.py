"""Find instructions of Dockerfiles that a build refuses, and hadolint does not report."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from copilot_testenv.check import dockerfile, files
from copilot_testenv.check.finding import Finding
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
            copied = _COPIED.match(instruction)
            name = copied[1].lower() if copied else ""
            meant = difflib.get_close_matches(name, [each for each in stages if each], 1, _MEANT)
            if meant and name not in stages:
                what = f"no earlier stage is called {name}, so the build looks for an image of that name"
                yield Finding(path, line, "stage", "warning", what, f"write `{meant[0]}` if that is meant")
            stages += dockerfile.stages(instruction)


RULES = (wrong,)
