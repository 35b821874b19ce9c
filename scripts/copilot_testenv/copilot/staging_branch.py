"""The branch whose image fills the sandbox's staging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.copilot import manifest
from copilot_testenv.core import committed, git
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.process import Shell, output_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot_testenv.core.settings import Settings


def find(shell: Shell, settings: Settings, source: str, say: Callable[[str], None]) -> git.Branch:
    """Return the branch `source`, else the default branch, else HEAD.

    HEAD is used, and that is said, where no default branch is found, or where it has not what a project
    needs: an adopted project may still wait to be merged. Raises UsageError, Failed.
    """
    root = settings.root
    if source:
        return git.find(shell, root, source)
    names = git.default_names(shell, root, settings.default_branch)
    found = ((name, commit) for name in names if (commit := git.newest(shell, root, name)))
    name, commit = next(found, ("", ""))
    head = output_of(shell, git.command(root, "rev-parse", "HEAD"), "Looking up HEAD").strip()
    reason = f"there is no branch {' or '.join(names)}"
    if commit:
        reason = _lack(shell, settings, name, commit, head)
        if not reason:
            return git.Branch(name, commit)
    if head != commit:
        say(f"  sandbox: staging is filled from HEAD, because {reason}")
    return git.Branch("HEAD", head)


def _lack(shell: Shell, settings: Settings, name: str, commit: str, head: str) -> str:
    """Return what a commit of the branch `name` lacks to fill staging; empty if nothing.

    An own block for the environment says nothing of what is in the image, so the file of settings counts
    too, where HEAD has one.
    """
    root, prefix = settings.root, git.prefix(shell, settings.root)
    path = f"{prefix}{settings.manifest.relative_to(root)}"
    written = shell.run(git.command(root, "show", f"{commit}:{path}"))
    try:
        manifest.check_environment(manifest.parse(written.stdout, path), settings.test_env, path)
    except SettingsError:
        return f"{path} of {name} has no block `{settings.test_env}` under `environments:`"
    file = f"{prefix}{committed.FILE}"
    has = [shell.run(git.command(root, "cat-file", "-e", f"{each}:{file}")).ok for each in (head, commit)]
    return f"{name} has no {file}" if has == [True, False] else ""
