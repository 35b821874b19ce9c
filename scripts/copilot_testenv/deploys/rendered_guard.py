"""What a branch would deploy is rendered by Copilot and looked at before it is deployed.

It is compared with what the default branch would deploy in its place. Whatever a branch may not change
without anybody's word is refused by its name in copilot_testenv.core.trust.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from copilot_testenv.branch_guard import change_locations, template_changes, template_rules
from copilot_testenv.branch_guard.template_changes import Change, Rendered
from copilot_testenv.branch_guard.template_references import References
from copilot_testenv.copilot import branch_service, manifest
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import git as branches
from copilot_testenv.core import scratch, trust
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.rendering import Renderer

if TYPE_CHECKING:
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target

_MOST = 10  # findings in one message
_LONGEST = 200  # characters of one
# Copilot writes these in quotes, whatever is in them; everything else it pastes into its template.
_QUOTED = frozenset({"variables", "labels", "taskdef_overrides", "args"})
_BREAK = re.compile("[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True)
class Baseline:
    """What a branch is compared with: the default branch's commit, or itself where `commit` is empty."""

    name: str
    commit: str


def require_harmless(session: Session, target: Target, deployed: Branch, folder: Path, host: str) -> None:
    """Refuse what the branch in that worktree would change beyond its own service; it deploys nothing.

    `host` is what its own service answers to, empty for the shared slot. Raises Refused (3), SettingsError
    where no default branch is found, Failed where Copilot cannot be asked.
    """
    settings = session.settings
    baseline = default_branch(session, deployed)
    with scratch.temporary("rendered-") as room, ThreadPoolExecutor(3) as pool:
        renderer = Renderer(settings, session.shell, target.variables, {})

        def rendered(workspace: Path) -> Template | Refusal:
            return renderer.service(workspace, settings.service, settings.test_env)

        asked = pool.submit(rendered, folder)
        plain = base = asked
        if baseline.commit:
            base = pool.submit(_of_default, session, baseline, room / "base", host, rendered)
            plain = pool.submit(rendered, without_overrides(folder, room / "plain", settings.service))
        found, own, before = (each.result() for each in (asked, plain, base))
    for each in (found, own):
        if isinstance(each, Refusal):
            raise SettingsError(f"Copilot does not deploy {deployed.name}: {each.why.rstrip('.')}.")
    assert isinstance(found, Template)  # noqa: S101 - nothing else is left
    assert isinstance(own, Template)  # noqa: S101 - nothing else is left
    if isinstance(before, Refusal):
        session.report.say(
            f"{baseline.name} cannot be deployed to {settings.test_env} ({before.why.rstrip('.')}): "
            f"{deployed.name} is compared with what Copilot itself writes instead. "
            f"That is expected until {baseline.name} has the test environment."
        )
        before = replace(own, addons=None)
    listed = list(changes(settings, found, before, own, other_environments(settings)))
    if baseline.commit:
        listed += pasted(folder, settings)
    refuse(listed, settings, folder)


def changes(
    settings: Settings, found: Template, before: Template, own: Template, others: Collection[str]
) -> Iterator[Change]:
    """Return all that needs somebody's word, in three renderings of the same service."""
    branch, base, plain = (Rendered(each, settings) for each in (found, before, own))
    for each in (branch, base, plain):
        try:
            assert each.body is not None  # noqa: S101 - read once, here
            assert each.addons is not None  # noqa: S101 - read once, here
        except ValueError as error:
            yield Change("resources", (), f"the rendered template cannot be judged: {error}")
            return
    told = set()
    for change in (
        *template_changes.changes(branch, base, plain),
        *template_rules.changes(branch, base),
        *References(branch, base, others).changes(),
    ):
        if (change.name, change.path, change.what) not in told:
            told.add((change.name, change.path, change.what))
            yield change


def refuse(found: Sequence[Change], settings: Settings, folder: Path) -> None:
    """Raise Refused with each change that nobody trusts, its file and line."""
    left = [change for change in found if change.name not in settings.trusted]
    if not left:
        return
    lines: dict[str, None] = {}
    for change in left:
        where = change_locations.place(change, folder, settings.base)
        lines[f"{where}: {_shown(change.what)} ({change.name})"] = None
    shown = [f"\n  {line}" for line in list(lines)[:_MOST]]
    if len(lines) > _MOST:
        shown.append(f"\n  and {len(lines) - _MOST} more")
    names = sorted({change.name for change in left})
    allowed = "; ".join(f"`{name}` lets it {trust.CHANGES[name]}" for name in names)
    raise Refused(
        "The branch would change what is not its own, so nothing was deployed:"
        + "".join(shown)
        + "\nTake it out of the branch, or merge the default branch where that has changed since. If you "
        f"trust it, say --trust {','.join(names)} (or set "
        f"{trust.SETTING}): {allowed}."
    )


def _shown(text: str) -> str:
    """Return a text of the branch on one line, cut where it is long."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"


def default_branch(session: Session, deployed: Branch) -> Baseline:
    """Find the default branch: DEFAULT_BRANCH, else origin's HEAD, else main, else master.

    The branch that is deployed is its own baseline where it is the default one, or has its copilot/ folder
    unchanged. Raises SettingsError where there is none, or where there are both and nobody has said which: a
    branch must not become the default one by its name.
    """
    shell, root = session.shell, session.settings.root
    name = session.settings.default_branch
    if not name:
        head = shell.run(
            branches.command(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
        )
        name = head.stdout.strip().removeprefix("origin/") if head.ok else ""
    names = [name] if name else ["main", "master"]
    if deployed.name in names and len(names) == 1:
        return Baseline(deployed.name, "")
    found = {name: commit for name in names if (commit := _newest(session, name))}
    if len(found) != 1:
        there = " and ".join(found) if found else f"no {' or '.join(names)}"
        raise SettingsError(
            f"It cannot be told which branch is the default one, to compare {deployed.name} with: there is "
            f"{there}, here or on origin. Set DEFAULT_BRANCH to its name."
        )
    ((name, commit),) = found.items()
    same = name == deployed.name or _same_manifests(session, commit, deployed.commit)
    return Baseline(name, "" if same else commit)


def _newest(session: Session, name: str) -> str:
    """Return the branch's commit: origin's where the local one is behind; fetched where none is here."""
    shell, root = session.shell, session.settings.root
    refs = [f"refs/heads/{name}", f"refs/remotes/origin/{name}"]
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    local, remote = (
        shell.run(branches.command(root, *words, f"{ref}^{{commit}}")).stdout.strip() for ref in refs
    )
    if local and remote and local != remote:
        behind = shell.run(branches.command(root, "merge-base", "--is-ancestor", local, remote))
        return remote if behind.ok else local
    if local or remote:
        return local or remote
    fetched = branches.fetch(shell, root, f"+refs/heads/{name}:{refs[1]}")
    found = shell.run(branches.command(root, *words, f"{refs[1]}^{{commit}}"))
    return found.stdout.strip() if fetched.ok else ""


def _same_manifests(session: Session, one: str, other: str) -> bool:
    """Return True where both commits have the same copilot/ folder, and no link in it leads elsewhere.

    Git's attributes can write a file differently from what is committed, so they are compared too.
    """
    shell, root = session.shell, session.settings.root
    below = PurePosixPath(branches.prefix(shell, root))
    paths = [str(below / "copilot"), *(str(each / ".gitattributes") for each in (below, *below.parents))]
    listed = [
        shell.run(branches.command(root, "ls-tree", "-r", "--full-tree", commit, "--", *paths))
        for commit in (one, other)
    ]
    texts = [found.stdout for found in listed if found.ok]
    links = any(line.startswith("120000") for text in texts for line in text.splitlines())
    return len(texts) == 2 and texts[0] == texts[1] and bool(texts[0].strip()) and not links  # noqa: PLR2004 - both were listed


def _of_default(
    session: Session, baseline: Baseline, folder: Path, host: str, rendered: Any
) -> Template | Refusal:
    """Render the default branch's service, or what would be a branch's own made from it."""
    settings = session.settings
    folder.mkdir()
    below = branches.prefix(session.shell, settings.root)
    # Into a folder of its own, with an index of its own: neither checkout nor worktree is touched.
    command = branches.command(
        settings.root,
        f"--work-tree={folder}",
        "checkout",
        "--quiet",
        "--force",
        baseline.commit,
        "--",
        f":(top,literal){below}copilot",
    )
    command = replace(command, env={**command.env, "GIT_INDEX_FILE": str(folder / ".index")})
    if not session.shell.run(command).ok:
        return Refusal(f"it has no folder {below}copilot/ at {baseline.commit[:12]}")
    folder /= below
    try:
        file = folder / "copilot" / settings.base / "manifest.yml"
        manifest.check_environment(
            manifest.read(file), settings.test_env, f"its copilot/{settings.base}/manifest.yml"
        )
        if settings.slug:
            branch_service.generate(folder, settings, host)
    except (SettingsError, Refused) as error:
        return Refusal(" ".join(str(error).replace(f"{folder}/", "").split()))
    found: Template | Refusal = rendered(folder)
    return found


def without_overrides(folder: Path, room: Path, service: str) -> Path:
    """Return a copy of the workspace in which the service has no overrides: Copilot's own writing."""
    try:
        shutil.copytree(folder / "copilot", room / "copilot", symlinks=True)
        overrides = room / "copilot" / service / "overrides"
        if overrides.is_symlink():
            overrides.unlink()
        elif overrides.exists():
            shutil.rmtree(overrides)
    except OSError as error:
        raise Failed(f"The manifests cannot be copied to be rendered: {error}.") from error
    return room


def other_environments(settings: Settings) -> frozenset[str]:
    """Return the environments that no branch of the test environment has to name."""
    files = (settings.root / "copilot/environments").glob("*/manifest.y*ml")
    found = {file.parent.name for file in files} | set(settings.protected_envs)
    try:
        blocks = manifest.read(settings.manifest).get("environments")
    except SettingsError:
        blocks = None
    found |= {name for name in (blocks if isinstance(blocks, dict) else ()) if isinstance(name, str)}
    return frozenset(found - {settings.test_env})


def pasted(folder: Path, settings: Settings) -> Iterator[Change]:
    """Return each value with a line break that Copilot would paste into its template as it is.

    What follows the break could be any resource. Source: the partials that print a value without `quote`, in
    internal/pkg/template/templates/workloads/partials/cf of aws/copilot-cli 1.34.
    """
    file = folder / "copilot" / settings.base / "manifest.yml"
    found = manifest.read(file)

    def walk(value: Any, path: tuple[str, ...]) -> Iterator[Change]:
        if isinstance(value, dict):
            for key, item in value.items():
                if isinstance(key, str) and _BREAK.search(key):
                    yield Change(
                        "resources",
                        (*path, key),
                        "a key with a line break would be pasted into the template",
                        path[-1:],
                    )
                elif key not in _QUOTED and (*path[-1:], key) != ("healthcheck", "command"):
                    yield from walk(item, (*path, str(key)))
                elif isinstance(item, dict):  # their keys are pasted too
                    yield from (change for change in walk(dict.fromkeys(item), (*path, str(key))))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                yield from walk(item, (*path, str(number)))
        elif isinstance(value, str) and _BREAK.search(value.rstrip("\n")):
            named = [part for part in reversed(path) if not part.isdigit()]
            yield Change(
                "resources",
                path,
                f"the value of {'.'.join(path)} has a line break, which would be pasted into the template",
                tuple(named),
            )

    yield from walk(found, ())
