"""Check a branch out as it is built: its files, its submodules, and what its build contexts need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from copilot_testenv.core import git, image_history, large_files, submodules
from copilot_testenv.core.process import Shell
from copilot_testenv.core.settings import Settings


@contextmanager
def worktree(
    shell: Shell, settings: Settings, branch: git.Branch, facts: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Yield the workspace of a temporary worktree with its submodules; see git.worktree.

    Raises Failed, SettingsError, and Refused where a submodule is not allowed.
    """
    root = settings.root
    with git.worktree(shell, root, branch, facts) as workspace:
        top = next(each for each in (workspace, *workspace.parents) if (each / ".git").exists())

        def known() -> frozenset[str]:
            """Read the submodules of the default branch, which only a branch with submodules needs."""
            return submodules.known(shell, root, settings.default_branch)

        large_files.pull(shell, top, branch, git.default_reference(shell, root, settings.default_branch))
        is_trusted = "submodules" in settings.trusted
        submodules.check_out(shell, root, top, branch, None if is_trusted else known)
        yield workspace


def prepare_contexts(
    shell: Shell,
    root: Path,
    workspace: Path,
    branch: git.Branch,
    builds: Iterable[tuple[str, str]],
    say: Callable[[str], None],
) -> None:
    """Put `deployment.json` and a `.git` of its own into the build contexts of a worktree. Raises Failed.

    `builds` are pairs of a Dockerfile and its context, relative to `workspace`, whose files must have been
    checked. `say` gets a line where large files are missing.
    """
    builds = list(builds)
    large_files.report_pointers(
        shell, workspace, {(workspace / context).resolve() for _, context in builds}, say
    )
    git.share_deployment_file(workspace, (context for _, context in builds))
    image_history.replace_link(shell, root, workspace, branch, builds)
