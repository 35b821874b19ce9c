"""Fetch a branch's large files with Git LFS, and count those that are not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from copilot_testenv.core import display, git
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.process import Shell

CONFIG = ".lfsconfig"
# The first line of a pointer. Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LARGEST = 1024  # bytes of a pointer
_FILTERS = (
    "filter.lfs.clean=git-lfs clean -- %f",
    "filter.lfs.smudge=git-lfs smudge -- %f",
    "filter.lfs.process=git-lfs filter-process",
    "filter.lfs.required=true",
)


def pull(shell: Shell, top: Path, branch: git.Branch, default: str) -> None:
    """Fetch the content of the pointers of Git LFS in the worktree `top`, where git-lfs is installed.

    It is fetched with the caller's credentials from origin. `default` is a reference of the default branch: a
    branch whose `.lfsconfig` differs could lead the request elsewhere. Raises Refused, Failed.
    """
    if not _uses(shell, top) or not pointers([top]) or not shutil.which("git-lfs"):
        return
    own, of_default = (_config(shell, top, reference) for reference in ("HEAD", default))
    if own and own != of_default and not shell.run(git.command(top, "config", "--get", "lfs.url")).ok:
        raise Refused(
            f"The {CONFIG} of {branch.name} differs from the default branch's, so it may lead the request "
            "for its large files, and your credentials, elsewhere. Nothing was deployed: merge it into the "
            "default branch first, or name the server yourself with `git config lfs.url URL`."
        )
    done = shell.run(git.command(top, "lfs", "pull", more=_FILTERS))
    left = pointers([top])
    if done.ok and not left:
        return
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    reason = display.masked(display.line(said[-1].strip())) if said else "origin does not have them"
    raise Failed(
        f"{left or 'The'} large files of {branch.name} cannot be fetched with Git LFS: {reason.rstrip('.')}. "
        "Nothing was deployed: see that `git lfs fetch` works in your clone, and that they were pushed, then "
        "deploy again."
    )


def report_pointers(shell: Shell, top: Path, contexts: Iterable[Path], say: Callable[[str], None]) -> None:
    """Say how many files of the build contexts have only pointers, because git-lfs is not installed."""
    if shutil.which("git-lfs") or not _uses(shell, top):
        return
    if count := pointers(contexts):
        say(
            f"{count} files of the build context are pointers of Git LFS, and their content is not deployed, "
            "because git-lfs is not installed: install it (`apt-get install git-lfs`), then deploy again."
        )


def pointers(folders: Iterable[Path]) -> int:
    """Return the number of files that are pointers of Git LFS."""
    found = set()
    for folder in folders:
        for place, names, files in os.walk(folder):
            names[:] = [name for name in names if name != ".git"]
            for file in (Path(place) / name for name in files):
                if not file.is_symlink() and file.is_file() and file.stat().st_size <= _LARGEST:
                    with file.open("rb") as opened:
                        found.update([file] if opened.read(len(_POINTER)) == _POINTER else [])
    return len(found)


def _uses(shell: Shell, top: Path) -> bool:
    """Return True if the commit has a file of attributes that names Git LFS."""
    words = ("grep", "--cached", "-q", "-F", "filter=lfs", "--", ":(top,glob)**/.gitattributes")
    return shell.run(git.command(top, *words)).ok


def _config(shell: Shell, top: Path, reference: str) -> str:
    shown = shell.run(git.command(top, "rev-parse", "--verify", "--quiet", f"{reference}:{CONFIG}"))
    return shown.stdout.strip() if shown.ok else ""
