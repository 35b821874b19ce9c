"""Delete unedited files that older versions, which had no wheels, copied into a project."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from copilot_testenv.adopt import history
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.origin import Origin
from copilot_testenv.adopt.project import Project
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core import git
from copilot_testenv.core.errors import Refused

# `tasks.py` is not listed: `thin` replaces it.
_PATHS = (
    *("scripts", "noxfile.py", "test_environments.py", "requirements-deploy.txt", "requirements-sandbox.txt"),
    *(".env.example", ".env.deploy.example"),
)
# The copied files that settings and image use, and how these name them.
_RUNTIME = ("scripts/__init__.py", "scripts/stage_copy/", "scripts/test_access/", "scripts/healthz.py")
_RUNTIME_NAMED = re.compile(rb"scripts[./]stage_copy")
_EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # Git's hash of an empty file
_MENU = "scripts/menu.py"
# A project without both files has no copies, or none any more. The second file is deleted last.
_SIGNS = (_MENU, "scripts/stage_copy/database_url.py")
_MENU_START = "How a task of the menu runs"  # _MENU begins so in every version


def require_history(renewal: Renewal, source: Origin) -> None:
    """Raise Refused if the project has copied files and no complete clone is there to identify them."""
    shell, clone = renewal.history.shell, source.clone
    if _MENU_START not in (renewal.project.text(_MENU) or "")[:100]:
        return
    if (
        clone is None
        or "true" in shell.run(git.command(clone, "rev-parse", "--is-shallow-repository")).stdout
    ):
        raise Refused(
            f"{renewal.project.root} has files that an older version copied in, and only a clone with its "
            "whole history can tell them from yours: run this in such a clone (`git fetch --unshallow`)."
        )


def of_one_version(project: Project, found: Sequence[Change | NotChanged]) -> Iterator[Change | NotChanged]:
    """Yield the planned changes, without those that break a file which still needs the copied packages.

    Settings that import the copied packages, and an image that has them, are renewed together or not at all.
    """
    together = {project.settings_path, project.dockerfile, ".dockerignore"}
    users = {path for path in together if _RUNTIME_NAMED.search(project.bytes(path) or b"")}
    unchanged = users & {item.path for item in found if isinstance(item, NotChanged)}
    for item in found:
        if unchanged and isinstance(item, Change) and item.path in users:
            why = f"it must change together with {', '.join(sorted(unchanged))}, which stays as it is"
            yield NotChanged(item.path, why, is_behind=True)
        elif not (
            unchanged and isinstance(item, Change) and item.after is None and item.path.startswith(_RUNTIME)
        ):
            yield item


def is_copy(renewal: Renewal, source: Origin, path: str) -> bool:
    """Return True if the file's content is in the clone's history: then an older version copied it."""
    shell = renewal.history.shell
    blob = history.tracked(shell, renewal.project.root, path).get(path)
    return bool(source.clone and blob and blob != _EMPTY and blob in history.objects(shell, source.clone))


def plan(renewal: Renewal, source: Origin) -> Iterator[Change | NotChanged]:
    """Yield the copies to delete: the files whose exact content is in the history of this clone."""
    project, shell = renewal.project, renewal.history.shell
    if source.clone is None or all(project.bytes(path) is None for path in _SIGNS):
        return
    known_blobs = history.objects(shell, source.clone)
    edited = []
    for path, blob in sorted(history.tracked(shell, project.root, *_PATHS).items()):
        if blob in known_blobs and blob != _EMPTY:
            yield Change(path, project.bytes(path), None)
        elif path.startswith("scripts/"):
            edited.append(path)
    if edited:
        yield NotChanged(
            "scripts/",
            f"{len(edited)} of its files are your own, or are edited copies ({edited[0]}…). These tasks are "
            "installed now and do not read them.",
        )
