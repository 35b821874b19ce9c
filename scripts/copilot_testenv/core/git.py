"""Find a Git branch's slug and commit, and check it out into a worktree. Branch names are hostile input."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from copilot_testenv.core import child_variables
from copilot_testenv.core.errors import Failed, SettingsError, UsageError
from copilot_testenv.core.process import Command, Result, Shell, output_of
from copilot_testenv.core.scratch import Scratch

SLUG_LENGTH = 24
GIT_SECONDS = 300.0  # for one command: a fetch, or a checkout of a large repository
DEPLOYMENT_FILE = "deployment.json"
LINK = ".git-link"  # how the name of a worktree's own `.git` ends while image_history has its place
# Git refuses these in a name (git-check-ref-format(1)); a leading dash would be read as a flag.
_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)|^@$", re.DOTALL)


@dataclass(frozen=True)
class Branch:
    """A branch and its commit. `note` is a line for the user where the local and the remote branch differ."""

    name: str
    commit: str
    note: str = ""

    @property
    def slug(self) -> str:
        return slug(self.name)


def slug(name: str) -> str:
    """Return a readable, stable label for a branch: lower case letters, digits and dashes, at most 24.

    A digest of the whole name is appended where the name was changed or cut, or where it ends like a name
    with a digest. So two branches never have the same slug.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    looks_digested = re.search(r"-[0-9a-f]{7}$", plain)
    if plain == name and len(plain) <= SLUG_LENGTH and plain[0].isalpha() and not looks_digested:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:7]
    stem = plain if plain[:1].isalpha() else f"b-{plain}"
    return f"{stem[: SLUG_LENGTH - 8].strip('-')}-{digest}"


def check_name(name: str) -> str:
    """Return `name`. Raises UsageError where it cannot be a branch."""
    if not name.strip():
        raise UsageError("Which branch? Write --branch NAME, for example --branch feature/checkout.")
    if _REFUSED.search(name) or len(name.encode(errors="replace")) > 200 or not name.isprintable():  # noqa: PLR2004 - Git's files end at 255 bytes
        raise UsageError(
            f"{name!r} cannot be a Git branch: Git allows no such name. Look at `git branch -a`."
        )
    return name


def current(shell: Shell, root: Path) -> str:
    """Return the branch that is checked out; empty where none is, and outside a repository."""
    head = shell.run(command(root, "symbolic-ref", "--quiet", "--short", "HEAD"))
    return head.stdout.strip() if head.ok else ""


def uncommitted(shell: Shell, root: Path) -> int:
    """Return how many files of the checkout differ from its commit, new ones included."""
    words = ("status", "--porcelain", "-z", "--no-renames", "--ignore-submodules=dirty")
    result = shell.run(command(root, *words, more=without_filters(shell, root)))
    return result.stdout.count("\0")


def find(shell: Shell, root: Path, name: str) -> Branch:
    """Return the local branch, else origin's, which is fetched where it is not in this clone yet.

    Raises SettingsError outside a repository, Failed where no such branch exists.
    """
    check_name(name)
    local = commit_of(shell, root, f"refs/heads/{name}")
    remote_ref = f"refs/remotes/origin/{name}"
    if local:
        remote = commit_of(shell, root, remote_ref)
        differs = remote and remote != local
        return Branch(
            name,
            local,
            f"Your local {name} is at {local[:12]}, and origin's was at {remote[:12]} when it was last "
            "fetched: the local one is deployed."
            if differs and remote
            else "",
        )
    fetched = fetch(shell, root, f"+refs/heads/{name}:{remote_ref}")
    remote = commit_of(shell, root, remote_ref) if fetched.ok else None
    if remote:
        return Branch(name, remote)
    why = fetched.stderr.strip().removeprefix("fatal: ").splitlines()[:1] or ["origin has no such branch"]
    near = difflib.get_close_matches(name, _names(shell, root), 1)
    raise Failed(
        f"There is no branch {name!r} in this clone, and it could not be fetched from origin: "
        f"{why[0].rstrip('.')}. {f'Did you mean {near[0]!r}?' if near else 'Look at `git branch -a`.'}"
    )


def _names(shell: Shell, root: Path) -> list[str]:
    """Return the names of all branches that the clone knows, origin's too."""
    listed = shell.run(
        command(root, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes/origin")
    )
    kinds = ("refs/heads/", "refs/remotes/origin/")
    return [ref.removeprefix(kind) for ref in listed.stdout.split() for kind in kinds if ref.startswith(kind)]


def at(shell: Shell, root: Path, name: str, commit: str) -> Branch:
    """Return a branch at a commit that is deployed; fetch it where it is not in this clone. Raises Failed."""
    for attempt in (1, 2):
        if commit_of(shell, root, commit) == commit:
            return Branch(name, commit)
        if attempt == 1:
            fetch(shell, root, f"refs/heads/{name}")
    raise Failed(
        f"The commit {commit[:12]} of {name} is deployed, but is neither in this clone nor on origin: deploy "
        "a branch that is, with `invoke deploy-test --branch B`."
    )


def default_names(shell: Shell, root: Path, configured: str) -> list[str]:
    """Return the name of the default branch: the configured one, else origin's HEAD; else main and master."""
    if configured:
        return [configured]
    head = shell.run(command(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"))
    return [head.stdout.strip().removeprefix("origin/")] if head.ok else ["main", "master"]


def newest(shell: Shell, root: Path, name: str) -> str:
    """Return a branch's commit: origin's where the local one is behind. Empty where there is no such branch.

    Fetch it where this clone has none. `find` prefers the local branch, because a developer deploys what is
    in the clone. The default branch is the team's, so it must not be older than origin's.
    """
    refs = [f"refs/heads/{name}", f"refs/remotes/origin/{name}"]
    local, remote = (commit_of(shell, root, ref) for ref in refs)
    if local and remote and local != remote:
        behind = shell.run(command(root, "merge-base", "--is-ancestor", local, remote))
        return remote if behind.ok else local
    if local or remote:
        return local or remote or ""
    fetched = fetch(shell, root, f"+refs/heads/{name}:{refs[1]}")
    return (commit_of(shell, root, refs[1]) or "") if fetched.ok else ""


@contextmanager
def worktree(
    shell: Shell, root: Path, branch: Branch, facts: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Check the branch's commit out into a temporary worktree, yield its workspace, and remove it afterwards.

    The workspace is the folder that corresponds to `root`; in a repository with several projects it lies
    below the worktree's top. It contains `deployment.json` with the branch, the commit and these `facts`: who
    deploys it (`deployed_by`) and until when (`expires_at`) for the project to show, and two for
    `copy_stage_db`: `deploy`, by which it distinguishes a new deploy from a restarted task, and
    `environment`, the only one in which it works. Raises Failed, and SettingsError where the branch has no
    such folder.
    """
    scratch = _worktrees(root)
    tidy(shell, root)
    below = prefix(shell, root)
    with ExitStack() as folders:
        try:
            scratch.parent.mkdir(exist_ok=True)
            (scratch.parent / ".gitignore").write_text("*\n")
            folder = folders.enter_context(scratch.folder(f"{branch.slug}-"))
        except OSError as error:
            raise Failed(f"No worktree can be created in {scratch.parent}: {error.strerror}.") from error
        try:
            # One process at a time: `prune` deletes the files of a worktree that another process is creating.
            with scratch.alone():
                output_of(shell, command(root, "worktree", "prune"), "Tidying up worktrees")
                add = ("worktree", "add", "--quiet", "--force", "--detach", str(folder), branch.commit)
                output_of(
                    shell,
                    command(root, *add, more=without_filters(shell, root)),
                    f"Checking out {branch.name} at {branch.commit[:12]}",
                )
            workspace = folder / below
            if not workspace.is_dir() or workspace.resolve() != folder.resolve() / below:
                raise SettingsError(f"{branch.name} has no folder {below} at {branch.commit[:12]}.")
            _write_deployment_file(workspace, branch, facts or {})
            yield workspace
        finally:
            _restore_link(folder)
            # Where that fails, the next run removes the worktree.
            with suppress(Failed), scratch.alone():
                shell.run(command(root, "worktree", "remove", "--force", "--force", str(folder)))


def _restore_link(folder: Path) -> None:
    """Put the worktree's own `.git`, a file, in the place of the repository of core.image_history."""
    link = folder.with_name(f"{folder.name}{LINK}")
    if link.is_file():
        shutil.rmtree(folder / ".git", ignore_errors=True)
        with suppress(OSError):
            link.rename(folder / ".git")


def prefix(shell: Shell, root: Path) -> str:
    """Return the path of a folder below the top of its checkout: `services/shop/`; "" for the top itself."""
    result = shell.run(command(root, "rev-parse", "--show-prefix"))
    return result.stdout.removesuffix("\n") if result.ok else ""


def tidy(shell: Shell, root: Path) -> None:
    """Remove the worktrees of runs that were killed, and no others. Raises Failed."""
    scratch = _worktrees(root)
    for link in scratch.parent.glob(f"*{LINK}"):
        if not link.with_name(link.name.removesuffix(LINK)).exists():
            link.unlink(missing_ok=True)
    if scratch.abandoned():
        with scratch.alone():
            for folder in scratch.clear():
                # `prune` skips a locked worktree, and Git leaves its lock where it was killed in `worktree
                # add`.
                shell.run(command(root, "worktree", "remove", "--force", "--force", str(folder)))
            output_of(shell, command(root, "worktree", "prune"), "Tidying up worktrees")


def _worktrees(root: Path) -> Scratch:
    return Scratch(root / ".worktrees")


def _write_deployment_file(folder: Path, branch: Branch, facts: Mapping[str, str]) -> None:
    """Write `deployment.json`. Delete the branch's own file or link of that name first."""
    file = folder / DEPLOYMENT_FILE
    written = {"branch": branch.name, "commit": branch.commit, **facts}
    try:
        file.unlink(missing_ok=True)
        with file.open("x") as target:
            target.write(json.dumps(written, sort_keys=True) + "\n")
    except OSError as error:
        raise Failed(
            f"{DEPLOYMENT_FILE} cannot be written for {branch.name}: {error.strerror}. "
            "The branch must have no folder of that name."
        ) from error


def share_deployment_file(workspace: Path, contexts: Iterable[str]) -> None:
    """Copy `deployment.json` into the build contexts that are other folders of the worktree than `workspace`.

    `contexts` are relative to the workspace; their files must have been checked. Raises Failed.
    """
    source = workspace / DEPLOYMENT_FILE
    for context in contexts:
        folder = (workspace / context).resolve()
        if folder == workspace.resolve() or not folder.is_dir():
            continue
        file = folder / DEPLOYMENT_FILE
        try:
            file.unlink(missing_ok=True)
            with file.open("x") as target:
                target.write(source.read_text())
        except OSError as error:
            raise Failed(
                f"{DEPLOYMENT_FILE} cannot be written into the build context {context}: {error.strerror}. "
                "The branch must have no folder of that name there."
            ) from error


def command(root: Path, *words: str, more: tuple[str, ...] = ()) -> Command:
    """Return a git command for this repository, even inside a hook, where Git's variables name another one.

    It does not prompt for a password, its messages are in English, and it runs no program of the branch: no
    hook, no file-system monitor, no submodule.
    """
    off = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "submodule.recurse=false", *more)
    return Command(
        ("git", "-C", str(root), *(word for setting in off for word in ("-c", setting)), *words),
        env={"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        inherits=child_variables.GIT,
        timeout=GIT_SECONDS,
    )


def without_filters(shell: Shell, root: Path) -> tuple[str, ...]:
    """Return the settings that disable all filters that a branch's `.gitattributes` can call.

    A filter is a program in the user's configuration. A relative path there could be a file of the branch.
    Git LFS is one of them: core.large_files fetches what it would have fetched.
    """
    listed = shell.run(
        command(root, "config", "--null", "--get-regexp", r"^filter\..*\.(smudge|clean|process)$")
    )
    names = [line.partition("\n")[0] for line in listed.stdout.split("\0") if line]
    off = []
    for name in names:
        off += [f"{name}=", f"{name.rpartition('.')[0]}.required=false"]
    return tuple(off)


def default_reference(shell: Shell, root: Path, default: str) -> str:
    """Return the reference of the default branch: `default`, else origin's HEAD, else main or master.

    Of several, origin's counts, so that a branch does not become the default one by its name. Empty: none.
    """
    names = [default] if default else ["HEAD", "main", "master"]
    for ref in [f"refs/{kind}/{name}" for kind in ("remotes/origin", "heads") for name in names]:
        if shell.run(command(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")).ok:
            return ref
    return ""


def fetch(shell: Shell, root: Path, refs: str) -> Result:
    """Fetch these references from origin, without tags and submodules."""
    words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "origin", refs)
    return shell.run(command(root, *words))


def commit_of(shell: Shell, root: Path, ref: str) -> str | None:
    result = shell.run(
        command(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    )
    if result.ok:
        return result.stdout.strip()
    if "not a git repository" in result.stderr:
        raise SettingsError(f"{root} is not a Git repository: run this in a clone of your project.")
    if result.returncode > 1:
        raise Failed(f"git could not look up {ref}: {result.stderr.strip()}")
    return None
