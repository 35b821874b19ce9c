"""Plan the CI files for a forge: they check each change, deploy on request, tear down and sweep."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

from copilot_testenv.adopt import stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core import documents
from copilot_testenv.core.errors import UsageError

FORGES = ("github", "gitlab", "bitbucket")


def require_known(forge: str) -> None:
    """Raise UsageError for a forge that has no templates; an empty name is accepted."""
    if forge and forge not in FORGES:
        raise UsageError(f"--ci {forge}: write one of {', '.join(FORGES)}.")


def is_wanted(renewal: Renewal, forge: str) -> bool:
    """Return True if a forge is named, or if `adopt` has already written files for a forge."""
    return bool(forge) or any(_is_there(renewal, each) for each in FORGES)


def plan(renewal: Renewal, forge: str) -> Iterator[Change | NotChanged | None]:
    """Yield the CI files of the named forge, and of each forge that `adopt` has already written files for."""
    for each in FORGES:
        if each == forge or _is_there(renewal, each):
            for path, body in _files(each):
                yield _file(renewal, path, body)


def _file(renewal: Renewal, path: str, body: str) -> Change | NotChanged | None:
    there = renewal.project.text(path)
    if there is not None and not stamps.find(there.replace("\r\n", "\n")):
        explained = f"{documents.page('ci.md')} explains them"
        return NotChanged(path, f"it is the project's own. Add these jobs to it ({explained}):\n{body}")
    return renewal.plan_file(path, body)


def _is_there(renewal: Renewal, forge: str) -> bool:
    return any(stamps.find(renewal.project.text(path) or "") for path, _ in _files(forge))


def _files(forge: str) -> Iterator[tuple[str, str]]:
    """Yield each file's path in a project, and its text."""
    yield from _below(resources.files("copilot_testenv.adopt") / "templates" / "ci" / forge, "")


def _below(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda one: one.name):
        if each.is_dir():
            yield from _below(each, f"{above}{each.name}/")
        else:
            yield f"{above}{each.name}", each.read_text(encoding="utf-8")
