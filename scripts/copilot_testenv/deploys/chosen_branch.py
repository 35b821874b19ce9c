"""Choose the branch of a deploy: the one that is named, else the one that is checked out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core import display, git

if TYPE_CHECKING:
    from copilot_testenv.session import Session


def chosen(session: Session, name: str | None) -> tuple[str, list[str]]:
    """Return the branch, which is the checked-out one without a name, and what the user should know of it.

    Raises UsageError where nothing is checked out or the name cannot be a branch.
    """
    if name is not None:
        git.check_name(name)
    shell, root, lines = session.shell, session.settings.root, []
    current = git.current(shell, root)
    if name is None:
        name = git.check_name(current)
        lines.append(f"No --branch was given: {name}, which is checked out, is deployed.")
    if name == current and (files := git.uncommitted(shell, root)):
        lines.append(
            f"Uncommitted changes in {display.counted(files, 'file')} are not deployed: only commits are."
        )
    return name, lines
