"""Give a worktree a `.git` that may be copied into an image: a repository with its commit's history.

The `.git` of a worktree is a file that names the clone of the person who deploys. In an image it leads
nowhere, so `git describe` and setuptools-scm fail there. The repository that takes its place has the commit,
its tags and as much history as they need, and nothing of the clone's configuration, remotes, credentials and
hooks.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import Shell, output_of

_ASKS = re.compile(r"(?m)^(?!\s*#).*(\.git\b|\bgit\b)")
_VERSIONING = re.compile(
    r"setuptools[-_]scm|hatch[-_]vcs|versioningit|versioneer|dunamai|dynamic[-_]versioning|flit[-_]scm|\bpbr\b|scm"
)
_PACKAGING = ("pyproject.toml", "setup.py", "setup.cfg")
_LARGEST = 1 << 20  # bytes of a file that is read
_DOING = "Preparing the history for the image"


def replace_link(
    shell: Shell, root: Path, folder: Path, branch: git.Branch, builds: Iterable[tuple[str, str]]
) -> None:
    """Replace the `.git` of the worktree in which the workspace `folder` lies.

    `builds` are pairs of a Dockerfile and its build context, relative to `folder`. The history is there where
    one of them lets `.git` in and asks Git for something; else the repository is empty. Raises Failed.
    """
    top = next(each for each in (folder, *folder.parents) if (each / ".git").exists())
    link = top / ".git"
    if not link.is_file():
        return
    wanted = any(
        (folder / context).resolve() == top.resolve() and _asks(top, folder / dockerfile)
        for dockerfile, context in builds
    )
    kept = top.with_name(f"{top.name}{git.LINK}")
    try:
        link.rename(kept)
    except OSError as error:
        raise Failed(f"{_DOING} failed: {error}.") from error
    output_of(shell, git.command(top, "init", "--quiet", "--template=", str(top)), _DOING)
    if wanted:
        _fetch(shell, root, top, branch)
    for name in ("hooks", "logs", "description", "FETCH_HEAD"):
        place = link / name
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def _fetch(shell: Shell, root: Path, top: Path, branch: git.Branch) -> None:
    """Fetch the commit with the tags that describe it, and make it the one that is checked out."""
    common = output_of(
        shell, git.command(root, "rev-parse", "--path-format=absolute", "--git-common-dir"), _DOING
    )
    name = "refs/heads/deployed" if branch.name == "HEAD" else f"refs/heads/{branch.name}"
    words = ("fetch", "--quiet", "--no-write-fetch-head", "--update-shallow", "--no-recurse-submodules")
    depth = _depth(shell, root, branch.commit)
    limit = (f"--depth={depth}",) if depth else ()
    source = f"file://{common.strip()}"
    quiet = ("core.logAllRefUpdates=false",)
    fetch = git.command(top, *words, *limit, source, f"+{branch.commit}:{name}", more=quiet)
    output_of(shell, fetch, _DOING)
    output_of(shell, git.command(top, "symbolic-ref", "HEAD", name), _DOING)
    # The index has no times of files, so that every build of the commit is given the same one.
    output_of(shell, git.command(top, "read-tree", "HEAD"), _DOING)


def _depth(shell: Shell, root: Path, commit: str) -> int:
    """Return how many commits reach the nearest tags; 0 for all, where there is no tag to count from."""
    counts = []
    for kind in (("--tags",), ()):
        tag = shell.run(git.command(root, "describe", *kind, "--abbrev=0", commit))
        if tag.ok:
            name = f"refs/tags/{tag.stdout.strip()}"
            counted = shell.run(git.command(root, "rev-list", "--count", commit, f"^{name}"))
            counts.append(int(counted.stdout.strip() or 0) if counted.ok else 0)
    return max(counts) + 2 if counts else 0


def _asks(top: Path, dockerfile: Path) -> bool:
    """Return True if the build asks Git for something, and the context has `.git`."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    if _hides(_text(own if own.is_file() else top / ".dockerignore")):
        return False
    return bool(_ASKS.search(_text(dockerfile))) or any(
        _VERSIONING.search(_text(file)) for file in _packaging(top)
    )


def _packaging(top: Path) -> Iterator[Path]:
    for name in _PACKAGING:
        yield top / name
        yield from sorted(top.glob(f"*/{name}"))


def _hides(ignore: str) -> bool:
    """Return True if a .dockerignore keeps `.git` out of the context; the last pattern decides."""
    hidden = False
    for line in ignore.splitlines():
        pattern = line.strip().removeprefix("!").strip().strip("/").removeprefix("**/").split("/")[0]
        if pattern in {".git", ".git*", ".*", "*", "**", ".g*", ".gi*"}:
            hidden = not line.strip().startswith("!")
    return hidden


def _text(file: Path) -> str:
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LARGEST:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
