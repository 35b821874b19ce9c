"""Render a branch's service and check its changes before it is deployed.

The rendering is compared with that of the default branch. A change that a branch may not make without a
person's trust is refused by its name in core.trust.
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
from copilot_testenv.core import scratch, trust, workspace_files
from copilot_testenv.core.errors import Failed, Refused, SettingsError

if TYPE_CHECKING:
    from copilot_testenv.copilot.branch_service import Addresses
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deployers.deployer import Templates
    from copilot_testenv.session import Session

_MOST = 10  # findings in one message
_LONGEST = 200  # characters of one
# Copilot writes these values in quotes; it pastes all other values into its template unchanged.
_QUOTED = frozenset({"variables", "labels", "taskdef_overrides", "args"})
_BREAK = re.compile("[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True)
class Baseline:
    """The default branch's commit, with which a branch is compared; an empty `commit`: the branch itself."""

    name: str
    commit: str


def require_harmless(
    session: Session, templates: Templates, deployed: Branch, folder: Path, addresses: Addresses
) -> None:
    """Raise Refused (3) where the branch in the worktree `folder` would change more than its own service.

    `addresses` are those of its own services. Raises SettingsError where no default branch is found, Failed
    where Copilot cannot be started.
    """
    settings = session.settings
    baseline = default_branch(session, deployed, templates.paths)
    with scratch.temporary("rendered-") as temporary_folder, ThreadPoolExecutor(3) as pool:

        def rendered(workspace: Path) -> Template | Refusal:
            return templates.service(workspace, settings.service, settings.test_env)

        branch_job = pool.submit(rendered, folder)
        not_overridden_job = base_job = branch_job
        if baseline.commit:
            base_folder = temporary_folder / "base"
            base_job = pool.submit(
                _of_default, session, baseline, base_folder, addresses, rendered, templates.paths
            )
            # A template that `package` wrote has the overrides in it: all that differs counts as one.
            not_overridden_job = base_job
            if templates.has_overrides:
                copy = temporary_folder / "without-overrides"
                not_overridden_job = pool.submit(rendered, without_overrides(folder, copy, settings.service))
        branch, not_overridden, base = (job.result() for job in (branch_job, not_overridden_job, base_job))
    if isinstance(base, Refusal) and not templates.has_overrides:
        raise SettingsError(
            f"{deployed.name} cannot be compared with {baseline.name or 'itself'}: {base.why.rstrip('.')}."
        )
    for template in (branch, not_overridden):
        if isinstance(template, Refusal):
            raise SettingsError(
                f"{deployed.name} cannot be deployed: {template.why.rstrip('.')}. "
                "`invoke check` on that branch shows the line."
            )
    assert isinstance(branch, Template)  # noqa: S101 - a Refusal was raised above
    assert isinstance(not_overridden, Template)  # noqa: S101 - a Refusal was raised above
    if isinstance(base, Refusal):
        session.report.say(
            f"{baseline.name} cannot be deployed to {settings.test_env} ({base.why.rstrip('.')}): "
            f"{deployed.name} is compared with Copilot's own template instead. "
            f"That is expected until {baseline.name} has the test environment."
        )
        base = replace(not_overridden, addons=None)
    listed = list(changes(settings, branch, base, not_overridden, other_environments(settings)))
    if baseline.commit:
        listed += pasted(folder, settings)
    refuse(listed, settings, folder)


def changes(
    settings: Settings, branch: Template, base: Template, not_overridden: Template, others: Collection[str]
) -> Iterator[Change]:
    """Yield all changes that a person must trust, from three renderings of the same service.

    `base` is the default branch's rendering, and `not_overridden` the branch's without its overrides.
    """
    of_branch, of_base, of_not_overridden = (
        Rendered(template, settings) for template in (branch, base, not_overridden)
    )
    for rendered in (of_branch, of_base, of_not_overridden):
        try:
            assert rendered.body is not None  # noqa: S101 - it is parsed here, where an error is caught
            assert rendered.addons is not None  # noqa: S101 - it is parsed here, where an error is caught
        except ValueError as error:
            yield Change("resources", (), f"the rendered template cannot be judged: {error}")
            return
    seen = set()
    for change in (
        *template_changes.changes(of_branch, of_base, of_not_overridden),
        *template_rules.changes(of_branch, of_base),
        *References(of_branch, of_base, others).changes(),
    ):
        if (change.name, change.path, change.what) not in seen:
            seen.add((change.name, change.path, change.what))
            yield change


def refuse(listed: Sequence[Change], settings: Settings, folder: Path) -> None:
    """Raise Refused with each change that is not trusted, and its file and line."""
    untrusted = [change for change in listed if change.name not in settings.trusted]
    if not untrusted:
        return
    lines: dict[str, None] = {}
    for change in untrusted:
        where = change_locations.place(change, folder, settings.base)
        lines[f"{where}: {_shown(change.what)} ({change.name})"] = None
    shown = [f"\n  {line}" for line in list(lines)[:_MOST]]
    if len(lines) > _MOST:
        shown.append(f"\n  and {len(lines) - _MOST} more")
    names = sorted({change.name for change in untrusted})
    allowed = "; ".join(f"`{name}` lets it {trust.CHANGES[name]}" for name in names)
    raise Refused(
        f"{settings.service} is not deployed, because the branch would change more than its own service:"
        + "".join(shown)
        + "\nRemove these changes from the branch, or merge the default branch if it has changed since. If "
        f"you trust them, use --trust {','.join(names)} (or set {trust.SETTING}): {allowed}."
    )


def _shown(text: str) -> str:
    """Return a text from the branch on one line, shortened to _LONGEST."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"


def default_branch(session: Session, deployed: Branch, paths: Sequence[str] = ("copilot",)) -> Baseline:
    """Return the baseline from the default branch: DEFAULT_BRANCH, else origin's HEAD, else main or master.

    The deployed branch is its own baseline where it is the default branch, or has the same `paths`: what its
    template is made of.
    Raises SettingsError where there is neither main nor master, or where there are both: a branch must not
    become the default one by its name.
    """
    shell, root = session.shell, session.settings.root
    names = branches.default_names(shell, root, session.settings.default_branch)
    if deployed.name in names and len(names) == 1:
        return Baseline(deployed.name, "")
    found = {name: commit for name in names if (commit := branches.newest(shell, root, name))}
    if len(found) != 1:
        there = " and ".join(found) if found else f"no {' or '.join(names)}"
        raise SettingsError(
            f"The default branch is unknown, so {deployed.name} cannot be compared with it: there is {there} "
            "in this clone or on origin. Set DEFAULT_BRANCH to its name."
        )
    ((name, commit),) = found.items()
    same = name == deployed.name or _same_files(session, commit, deployed.commit, paths)
    return Baseline(name, "" if same else commit)


def _same_files(session: Session, one: str, other: str, names: Sequence[str]) -> bool:
    """Return True where both commits have the same files in these folders of the workspace, without links.

    Git's attributes can change a file when it is checked out, so they are compared too.
    """
    shell, root = session.shell, session.settings.root
    below = PurePosixPath(branches.prefix(shell, root))
    paths = [
        *(str(below / name) for name in names),
        *(str(each / ".gitattributes") for each in (below, *below.parents)),
    ]
    listed = [
        shell.run(branches.command(root, "ls-tree", "-r", "--full-tree", commit, "--", *paths))
        for commit in (one, other)
    ]
    texts = [found.stdout for found in listed if found.ok]
    links = any(line.startswith("120000") for text in texts for line in text.splitlines())
    return len(texts) == 2 and texts[0] == texts[1] and bool(texts[0].strip()) and not links  # noqa: PLR2004 - both were listed


def _of_default(
    session: Session,
    baseline: Baseline,
    folder: Path,
    addresses: Addresses,
    rendered: Any,
    paths: Sequence[str],
) -> Template | Refusal:
    """Render the default branch's service, or the service that would be generated from it for a branch."""
    settings = session.settings
    folder.mkdir()
    below = branches.prefix(session.shell, settings.root)
    # Check out into a separate folder with a separate index, so that no checkout or worktree changes.
    command = branches.command(
        settings.root,
        f"--work-tree={folder}",
        "checkout",
        "--quiet",
        "--force",
        baseline.commit,
        "--",
        *(f":(top,literal){below}{name}" for name in paths),
    )
    command = replace(command, env={**command.env, "GIT_INDEX_FILE": str(folder / ".index")})
    if not session.shell.run(command).ok:
        folders = " and ".join(f"{below}{name}/" for name in paths)
        return Refusal(f"it has no {folders} at {baseline.commit[:12]}")
    folder /= below
    try:
        file = folder / "copilot" / settings.base / workspace_files.NAME
        manifest.check_environment(
            manifest.read(file), settings.test_env, f"its copilot/{settings.base}/manifest.yml"
        )
        if settings.slug:
            branch_service.generate(folder, settings, addresses)
    except (SettingsError, Refused) as error:
        return Refusal(" ".join(str(error).replace(f"{folder}/", "").split()))
    found: Template | Refusal = rendered(folder)
    return found


def without_overrides(folder: Path, copy: Path, service: str) -> Path:
    """Copy the workspace without the service's overrides, for Copilot's own template. Return `copy`."""
    try:
        shutil.copytree(folder / "copilot", copy / "copilot", symlinks=True)
        overrides = copy / "copilot" / service / "overrides"
        if overrides.is_symlink():
            overrides.unlink()
        elif overrides.exists():
            shutil.rmtree(overrides)
    except OSError as error:
        raise Failed(f"The manifests cannot be copied to be rendered: {error}.") from error
    return copy


def other_environments(settings: Settings) -> frozenset[str]:
    """Return the environments that a branch in the test environment has no reason to name."""
    found = workspace_files.environment_names(settings.root) | set(settings.protected_envs)
    try:
        blocks = manifest.read(settings.manifest).get("environments")
    except SettingsError:
        blocks = None
    found |= {name for name in (blocks if isinstance(blocks, dict) else ()) if isinstance(name, str)}
    return frozenset(found - {settings.test_env})


def pasted(folder: Path, settings: Settings) -> Iterator[Change]:
    """Yield each value with a line break that Copilot would paste into its template unchanged.

    The text after the break could be any resource. Source: the partials that print a value without `quote`,
    in internal/pkg/template/templates/workloads/partials/cf of aws/copilot-cli 1.34.
    """
    file = folder / "copilot" / settings.base / workspace_files.NAME
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
