"""Add to .gitignore what nobody must commit, and exceptions for what a deployment needs.

A deployment has the committed files alone. So a pattern of the team's must hide neither the manifests nor
what `adopt` writes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from copilot_testenv.adopt.changes import Change
from copilot_testenv.adopt.project import Project
from copilot_testenv.core import git
from copilot_testenv.core.process import Shell

_PATH = ".gitignore"
_LINES = (".env", ".sandbox.env", ".sandbox/", ".worktrees/", ".testenv/")
_MANIFESTS = "copilot"
_FOUND = re.compile(
    r"(?m)^(.*?):\d+:.*\t(.*)$"
)  # a line of `git check-ignore --verbose`: source, number, pattern, path


def plan(shell: Shell, project: Project, written: Iterable[str]) -> Change | None:
    """Plan the .gitignore with the missing lines; None if no line is missing.

    `written` are the paths of files to be written.
    """
    text = project.text(_PATH)
    there = {line.strip().strip("/") for line in (text or "").splitlines()}
    missing = [line for line in _LINES if line.strip("/") not in there]
    needed = (*written, f"{_MANIFESTS}/.workspace", project.manifest_path, project.environment_path)
    for path in sorted(_hidden(shell, project, needed)):
        missing += [line for line in _exception(shell, project, path) if line not in missing]
    if not missing:
        return None
    end = "\r\n" if text and "\r\n" in text else "\n"
    gap = end if text and not text.endswith("\n") else ""
    added = "".join(f"{line}{end}" for line in missing)
    return Change(_PATH, None if text is None else text.encode(), f"{text or ''}{gap}{added}".encode())


def still_hidden(shell: Shell, project: Project, paths: Iterable[str]) -> list[str]:
    """Return the paths that Git ignores and for which no exception can be planned, sorted."""
    return sorted(path for path in _hidden(shell, project, paths) if not _exception(shell, project, path))


def _hidden(shell: Shell, project: Project, paths: Iterable[str], *flags: str) -> dict[str, str]:
    """Return the paths that Git ignores, each with the file that has the pattern, as Git names it.

    What Git has already is not ignored, except with the flag `--no-index`.
    """
    words = ("-c", "core.quotePath=false", "check-ignore", "--verbose", *flags, "--", *paths)
    listed = shell.run(git.command(project.root, *words)).stdout
    return {path: source for source, path in _FOUND.findall(listed)}


def _exception(shell: Shell, project: Project, path: str) -> list[str]:
    """Return the lines by which the .gitignore beside copilot/ passes this path; none where it cannot.

    Git looks into no folder that it ignores. So such a folder is passed first, and all else in it is ignored
    again. A .gitignore in a deeper folder takes precedence, so what that one hides stays hidden.
    """
    parts = path.split("/")
    folders = ["/".join(parts[:count]) + "/" for count in range(1, len(parts))]
    found = _hidden(shell, project, [path, *folders], "--no-index")
    if parts[0] == ".." or any(_is_deeper(project, source) for source in found.values()):
        return []
    if f"{_MANIFESTS}/" in found:
        return [f"!/{_MANIFESTS}/"]  # all of it belongs to the repository
    wheels = posixpath.join(posixpath.dirname(path), "*.whl")  # the next version's too
    opened = [line for folder in folders if folder in found for line in (f"!/{folder}", f"/{folder}*")]
    return [*opened, f"!/{wheels if path.endswith('.whl') else path}"]


def _is_deeper(project: Project, source: str) -> bool:
    """Return True for a .gitignore in a folder below that of copilot/. Git names it from the top."""
    folder = (project.top / source).parent
    return posixpath.basename(source) == _PATH and project.root in folder.parents
