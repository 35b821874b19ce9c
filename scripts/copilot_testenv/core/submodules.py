"""Check the submodules of a branch out into its worktree. A branch's .gitmodules is hostile input.

Git's own `submodule` command is not used: it would run with the settings that a branch and earlier checkouts
have left. Only the path and the URL of a submodule are read, and a commit is fetched as an ordinary
repository is, with the caller's credentials, into a repository of its own that is deleted afterwards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from copilot_testenv.core import display, git, scratch, trust
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.process import Command, Shell

_DEEPEST = 5  # submodules within submodules
_MOST = 50  # submodules of one branch
_GITLINK = "160000"
_SCP = re.compile(r"(?!-)[\w.-]+@(?!-)[\w.-]+:(?!/?-)[^:\s]+")  # git@github.com:team/shop.git
_ALLOWED = re.compile(r"(https|ssh)://(?!-)[^\s]+")
_LOCAL = re.compile(r"(file://)?/[^\s]*")
# What `git fetch` may need of the configuration of the caller's clone: CI keeps credentials there.
_CREDENTIALS = r"^(credential|http|url)\.|^core\.(sshcommand|askpass|gitproxy)$|^ssh\."


@dataclass(frozen=True)
class Submodule:
    """A submodule: its path below the worktree, the commit that the branch names, and where it is fetched."""

    path: str
    commit: str
    url: str


@dataclass
class _Fetching:
    shell: Shell
    root: Path
    branch: git.Branch
    room: Path
    known: frozenset[str] | None
    count: int = 0


def check_out(
    shell: Shell,
    root: Path,
    folder: Path,
    branch: git.Branch,
    known: Callable[[], frozenset[str]] | None = None,
) -> None:
    """Fetch the submodules of the commit in the worktree `folder`, and write their files there.

    `known` returns the URLs that the branch may name; None allows it to name others too. Raises
    Refused where a path or URL in .gitmodules is not allowed, Failed where a commit cannot be fetched.
    """
    links = list(_gitlinks(shell, folder, "HEAD", folder))
    if not links:
        return
    origin = shell.run(git.command(root, "config", "--get", "remote.origin.url")).stdout.strip()
    with scratch.temporary("submodules-") as room:
        urls = known() if known else None
        _check_out(_Fetching(shell, root, branch, room, urls), folder, folder, links, origin, 1)


def _check_out(
    fetching: _Fetching, folder: Path, top: Path, links: list[tuple[str, str]], origin: str, depth: int
) -> None:
    """Check out the submodules of the files in `folder`, which lies in the worktree `top`."""
    urls = _urls(fetching.shell, folder)
    for path, commit in links:
        shown = (folder / path).relative_to(top).as_posix()
        where = f"The submodule {display.line(shown)} of {fetching.branch.name}"
        fetching.count += 1
        if depth > _DEEPEST or fetching.count > _MOST:
            raise Refused(
                f"{where} is not fetched: a branch may have {_MOST} submodules, and {_DEEPEST} within each "
                "other. Remove some of them from the branch."
            )
        place = folder / path
        if place.resolve() != top.resolve() / shown or not place.is_dir():
            raise Refused(f"{where} does not lie in a folder of its own: make it a folder of the branch.")
        written = urls.get(path)
        if written is None:  # Git leaves its folder empty in each clone, and `adopt` names it
            continue
        url = _resolved(written, origin, where)
        if depth == 1 and fetching.known is not None and written not in fetching.known:
            reason = (
                f"{where} has the URL {display.masked(display.line(written))}, which the default "
                "branch has not"
            )
            raise trust.refused("submodules", reason)
        store = fetching.room / str(fetching.count)
        _fetch(fetching, store, commit, url, where)
        _write(fetching, store, place, commit, where)
        inner = list(_gitlinks(fetching.shell, store, commit, store))
        if inner:
            _check_out(fetching, place, top, inner, url, depth + 1)


def known(shell: Shell, root: Path, default: str) -> frozenset[str]:
    """Return the URLs in .gitmodules of the default branch; see git.default_reference."""
    ref = git.default_reference(shell, root, default)
    text = shell.run(git.command(root, "show", f"{ref}:.gitmodules")).stdout if ref else ""
    with scratch.temporary("gitmodules-") as folder:
        (folder / ".gitmodules").write_text(text)
        return frozenset(_urls(shell, folder).values())


def _gitlinks(shell: Shell, folder: Path, commit: str, of: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the commit of each submodule in a commit's tree."""
    listed = shell.run(git.command(folder, "ls-tree", "-r", "-z", "--full-tree", commit))
    if not listed.ok:
        raise Failed(f"The files of {of} cannot be listed: {listed.stderr.strip()}")
    for entry in listed.stdout.split("\0"):
        about, _, path = entry.partition("\t")
        if about.startswith(_GITLINK):
            yield path, about.split(" ")[2]


def _urls(shell: Shell, folder: Path) -> dict[str, str]:
    """Return the URL of each path in .gitmodules; of several, Git takes the last."""
    file = folder / ".gitmodules"
    if file.is_symlink() or not file.is_file():
        return {}
    words = (
        "config",
        "--null",
        "--no-includes",
        "--file",
        str(file),
        "--get-regexp",
        r"^submodule\..*\.(path|url)$",
    )
    found: dict[str, dict[str, str]] = {}
    for entry in shell.run(git.command(folder, *words)).stdout.split("\0"):
        key, _, value = entry.partition("\n")
        name, _, kind = key.removeprefix("submodule.").rpartition(".")
        found.setdefault(name, {})[kind] = value
    return {each["path"]: each["url"] for each in found.values() if "path" in each and "url" in each}


def _resolved(url: str, origin: str, where: str) -> str:
    """Return the URL to fetch from; a relative one is relative to the URL of the repository that has it.

    Raises Refused.
    """
    shown = display.masked(display.line(url))
    if not url:
        raise Refused(f"{where} has no URL in .gitmodules: add it there (`git submodule add`).")
    if url.startswith(("./", "../")):
        if not origin:
            raise Refused(f"{where} has the relative URL {shown}, and this clone has no `origin`: add one.")
        base, sep, path = origin, "/", url
        while path.startswith(("./", "../")):
            if path.startswith("../"):
                sep = "/" if "/" in base else ":"
                base, found, _ = base.rstrip("/").rpartition(sep)
                if not found or base.endswith((":", "/")) or (sep == "/" and base.endswith(":/")):
                    raise Refused(f"{where} has the URL {shown}, which leads above {display.masked(origin)}.")
            path = path.partition("/")[2]
        url = f"{base}{sep}{path}"
    if "::" in url or not (_ALLOWED.fullmatch(url) or _SCP.fullmatch(url) or _LOCAL.fullmatch(url)):
        raise Refused(
            f"{where} has the URL {shown}, which is not fetched: write one that begins with https:// or "
            "ssh://, or a relative one, into .gitmodules of the branch."
        )
    if ".." in url.split("/"):
        raise Refused(f"{where} has the URL {shown}, with `..` in it: write the whole URL into .gitmodules.")
    return url


def _fetch(fetching: _Fetching, store: Path, commit: str, url: str, where: str) -> None:
    """Fetch a commit into a new repository. Git refuses local paths there (protocol.file.allow)."""
    shell = fetching.shell
    store.mkdir()
    made = shell.run(git.command(store, "init", "--quiet", "--bare", "--template=", str(store)))
    environment = _credentials(shell, fetching.root, url)
    words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    every = "+refs/*:refs/all/*"  # a server that gives no single commit, or gives it only to all
    done = made
    for what in (("--depth=1", "origin", commit), ("origin", every)) if made.ok else ():
        done = shell.run(_with(git.command(store, *words, *what), environment))
        if done.ok and shell.run(git.command(store, "cat-file", "-e", f"{commit}^{{commit}}")).ok:
            return
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    reason = next((line for line in said if line.startswith(("fatal:", "error:", "ERROR:"))), "")
    reason = reason.partition(":")[2].strip() if reason else "its repository does not have that commit"
    shown = display.masked(display.line(url))
    advice = (
        "Git fetches a local path only where you allow it (`git config --global protocol.file.allow always`)"
        if _LOCAL.fullmatch(url)
        else f"see that `git ls-remote {shown}` works without a question, and that the commit was pushed"
    )
    raise Failed(
        f"{where} cannot be fetched at {commit[:12]} from {shown}: "
        f"{display.masked(display.line(reason)).rstrip('.')}. Nothing was deployed: {advice}, then "
        "deploy again."
    )


def _write(fetching: _Fetching, store: Path, place: Path, commit: str, where: str) -> None:
    """Write the files of a commit into a folder: no hook runs, and no filter."""
    command = git.command(
        store,
        f"--work-tree={place}",
        "checkout",
        "--quiet",
        "--force",
        commit,
        "--",
        ".",
        more=git.without_filters(fetching.shell, store),
    )
    command = replace(command, env={**command.env, "GIT_INDEX_FILE": str(store / "for-checkout")})
    done = fetching.shell.run(_with(command, {"GIT_DIR": str(store)}))
    if not done.ok:
        raise Failed(f"{where} cannot be checked out: {display.line(done.stderr.strip())}")


def _credentials(shell: Shell, root: Path, url: str) -> dict[str, str]:
    """Return variables with the remote's URL and the credentials of the caller's clone: none is a word."""
    listed = shell.run(
        git.command(root, "config", "--local", "--includes", "--null", "--get-regexp", _CREDENTIALS)
    )
    pairs = [tuple(entry.partition("\n")[::2]) for entry in listed.stdout.split("\0") if entry]
    pairs.append(("remote.origin.url", url))
    given = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(given) if given.isdecimal() else 0
    variables = {"GIT_CONFIG_COUNT": str(first + len(pairs)), "GIT_PROTOCOL_FROM_USER": "0"}
    for number, (key, value) in enumerate(pairs, first):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _with(command: Command, variables: Mapping[str, str]) -> Command:
    return replace(command, env={**command.env, **variables})
