"""Take away what a version before wheels copied into a project, where nobody has edited it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from copilot_testenv.adopt import history
from copilot_testenv.adopt.changes import Change, Left
from copilot_testenv.adopt.origin import Origin
from copilot_testenv.adopt.project import Project
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core import git
from copilot_testenv.core.errors import Refused

# `tasks.py` is not among them: `thin` writes another in its place.
_PATHS = (
    *("scripts", "noxfile.py", "test_environments.py", "requirements-deploy.txt", "requirements-sandbox.txt"),
    *(".env.example", ".env.deploy.example"),
)
# What settings and image need of it, and how they name it.
_RUNTIME = ("scripts/__init__.py", "scripts/stage_copy/", "scripts/test_access/", "scripts/healthz.py")
_RUNTIME_NAMED = re.compile(rb"scripts[./]stage_copy")
_EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # what Git calls a file with nothing in it
_MENU = "scripts/menu.py"
# A project that has neither was never copied into, or has none left; the second stays longest.
_TELLS = (_MENU, "scripts/stage_copy/database_url.py")
_OURS = "How a task of the menu runs"  # how that begins, in every version


def require_history(renewal: Renewal, source: Origin) -> None:
    """Raises Refused where a version before wheels has copied files in that cannot be told from others."""
    shell, clone = renewal.history.shell, source.clone
    if _OURS not in (renewal.project.text(_MENU) or "")[:100]:
        return
    if (
        clone is None
        or "true" in shell.run(git.command(clone, "rev-parse", "--is-shallow-repository")).stdout
    ):
        raise Refused(
            f"{renewal.project.root} has files that an older version copied in, and only a clone with its "
            "whole history can tell them from yours: run this in one (`git fetch --unshallow` makes it that)."
        )


def of_one_version(project: Project, found: Sequence[Change | Left]) -> Iterator[Change | Left]:
    """Yield what is planned, but for what a file that is left still needs of the version that copied.

    Settings that import the copied packages, and an image that has them, are renewed together or not at all.
    """
    together = {project.settings_path, project.dockerfile, ".dockerignore"}
    needing = {path for path in together if _RUNTIME_NAMED.search(project.bytes(path) or b"")}
    left = needing & {each.path for each in found if isinstance(each, Left)}
    for each in found:
        if left and isinstance(each, Change) and each.path in needing:
            why = f"it is of one version with {', '.join(sorted(left))}, which is left"
            yield Left(each.path, why, is_behind=True)
        elif not (
            left and isinstance(each, Change) and each.after is None and each.path.startswith(_RUNTIME)
        ):
            yield each


def is_copy(renewal: Renewal, source: Origin, path: str) -> bool:
    """Return True if a file is a copy of some version of ours."""
    shell = renewal.history.shell
    name = history.tracked(shell, renewal.project.root, path).get(path)
    return bool(source.clone and name and name != _EMPTY and name in history.objects(shell, source.clone))


def plan(renewal: Renewal, source: Origin) -> Iterator[Change | Left]:
    """Yield the copies that go. A file counts as a copy if this clone's Git has kept its very content."""
    project, shell = renewal.project, renewal.history.shell
    if source.clone is None or all(project.bytes(each) is None for each in _TELLS):
        return
    ours = history.objects(shell, source.clone)
    there = history.tracked(shell, project.root, *_PATHS)
    edited = []
    for path, name in sorted(there.items()):
        if name in ours and name != _EMPTY:
            yield Change(path, project.bytes(path), None)
        elif path.startswith("scripts/"):
            edited.append(path)
    if edited:
        yield Left(
            "scripts/",
            f"{len(edited)} of its files are no copies of ours, or were edited ({edited[0]}…): these tasks "
            "are installed now and read nothing there.",
        )
