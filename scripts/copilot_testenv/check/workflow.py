"""Read the manifests, render them, run every rule, print the findings; `--fix` first corrects the patches."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

from copilot_testenv.branch_guard.branch_paths import Repository
from copilot_testenv.check import (
    access,
    beside,
    blocks,
    choices,
    combinations,
    containers,
    cures,
    files,
    foreign,
    instructions,
    keys,
    limits,
    names,
    overrides,
    pipelines,
    policies,
    registration,
    relations,
    renderer,
    secret,
    services,
    silence,
    templates,
    throwaway,
    unsafe,
    values,
    verdict,
)
from copilot_testenv.check import project as projects
from copilot_testenv.check.finding import Finding, as_documents, as_github, as_gitlab, as_sarif
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import patches
from copilot_testenv.core import display
from copilot_testenv.core.errors import SettingsError, UsageError
from copilot_testenv.core.terminal import Report, as_json
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session

Rule = Callable[[Project], Iterator[Finding]]
# WRITTEN are the rules on the repository's files, RENDERED those on the templates that Copilot renders.
WRITTEN: tuple[Rule, ...] = (
    *keys.RULES,
    *values.RULES,
    *blocks.RULES,
    *files.RULES,
    *foreign.WRITTEN,
    *unsafe.RULES,
    *limits.RULES,
    *registration.RULES,
    *combinations.RULES,
    *overrides.WRITTEN,
    *relations.RULES,
    *beside.RULES,
    *instructions.RULES,
    *names.RULES,
    *pipelines.RULES,
    *policies.RULES,
    *services.RULES,
)
RENDERED: tuple[Rule, ...] = (
    *verdict.RULES,
    *overrides.RULES,
    *templates.RULES,
    *containers.RULES,
    *throwaway.RULES,
    *secret.RULES,
    *access.RULES,
    *foreign.RULES,
)
RULES = (*WRITTEN, *RENDERED)
# The rules on a test environment, which most workspaces do not have: see Project.has_test_profile.
OF_TEST = frozenset(
    {blocks.missing, *throwaway.RULES, *access.RULES, *foreign.RULES, *foreign.WRITTEN, *services.RULES}
)
FORMATS = ("text", "github", "gitlab", "sarif")


def check(
    *sessions: Session,
    json: bool,
    style: str,
    fix: bool = False,
    plan: bool = False,
    account: bool = False,
    baseline: bool = False,
) -> None:
    """Print every finding. Raises SettingsError (2) where one is an error, UsageError on an unknown format.

    With `account` these are the findings about the account, and the workspace is not checked.

    Each of the sessions has a workspace. Paths begin in the workspace, or in the current folder where that is
    above it; for a format of CI they begin at the top of the repository.
    `fix` first corrects the patches of Lambda runtimes; `plan` only shows what `fix` would change. `baseline`
    writes what is found as the baseline of each workspace.
    """
    if style not in FORMATS:
        raise UsageError(f"There is no format {style!r}: --format takes {', '.join(FORMATS)}.")
    if json and style != "text":
        raise UsageError(
            "--json and --format exclude each other: each is a format of its own. Write only one."
        )
    if plan and not fix:
        raise UsageError("--plan goes with --fix: check alone changes nothing.")
    if plan and (json or style != "text"):
        raise UsageError(
            "--plan excludes --json and --format: it shows a difference, not findings. Write --plan alone."
        )
    if account:
        _check_account(sessions, json=json, alone=style == "text" and not (fix or baseline))
        return
    report = sessions[0].report
    report.say(
        "Checking on this machine: Copilot renders, and no AWS is asked"
        + (
            " but for secrets, which are read from your account to compare."
            if sessions[0].settings.target == "aws"
            else "."
        )
    )
    found = []
    for session in sessions:
        if plan:
            _fix(session, plan=True)
        else:
            begin = _begin(session.settings.root, of_repository=style != "text")
            left = _left(session, findings(session, fix=fix), baseline=baseline)
            found += [_below(finding, begin) for finding in left]
    if not plan:
        show(report, found, json=json, style=style)


def _check_account(sessions: tuple[Session, ...], *, json: bool, alone: bool) -> None:
    """Look at the account of one workspace. Raises UsageError where the choice is not plain."""
    if not alone:
        raise UsageError("--account excludes --fix, --baseline and --format: it looks at AWS, not at files.")
    if len(sessions) > 1:
        raise UsageError("There are several workspaces here: run `invoke check --account` in one of them.")
    from copilot_testenv.account import workflow as account_workflow  # noqa: PLC0415 - it imports boto3

    account_workflow.check(sessions[0], json=json)


def _left(session: Session, found: list[Finding], *, baseline: bool) -> list[Finding]:
    """Return the findings that the team's choices leave; with `baseline`, write them and return none."""
    root, report = session.settings.root, session.report
    if baseline:
        count = choices.write_baseline(root, found)
        report.say(f"{choices.BASELINE} has {display.counted(count, 'finding')}: commit it.")
        return []
    left, note = choices.apply(root, found)
    if note:
        report.say(note)
    return left


def _begin(root: Path, *, of_repository: bool) -> str:
    """Return the workspace's place in its repository, or below the current folder; `.` where it is that."""
    top = Repository(root).top if of_repository else Path.cwd()
    return root.relative_to(top).as_posix() if root.is_relative_to(top) else "."


def _below(finding: Finding, begin: str) -> Finding:
    return replace(finding, path=posixpath.normpath(posixpath.join(begin, finding.path)))


def show(report: Report, found: list[Finding], *, json: bool, style: str) -> None:
    """Print the findings in this format. Raises SettingsError where one is an error."""
    if json:
        report.data(as_json(as_documents(found)))
    elif style == "gitlab":
        report.data(as_gitlab(found))
    elif style == "sarif":
        report.data(as_sarif(found))
    else:
        for finding in found:
            report.data(as_github(finding) if style == "github" else display.block(str(finding)))
    errors = sum(finding.severity == "error" for finding in found)
    warnings = len(found) - errors
    if errors:
        raise SettingsError(f"{display.counted(errors, 'error')}, {display.counted(warnings, 'warning')}.")
    report.say(f"No error, {display.counted(warnings, 'warning')}." if warnings else "Nothing is wrong.")


def findings(session: Session, today: date | None = None, *, fix: bool = False) -> list[Finding]:
    """Return the findings of all rules, sorted by file and line; `fix` first corrects the runtime patches.

    Raises SettingsError, Refused where patches cannot be fixed, Failed where Copilot cannot run.
    """
    if fix:
        _fix(session, plan=False, today=today)
    project = projects.read(session.settings, today, session.shell)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(judge, project, WRITTEN)  # while Copilot renders
        if project.is_unsafe():
            session.report.say(
                "Copilot was not started, because the workspace is unsafe. The findings are below."
            )
        else:
            with renderer.opened(session, project) as copilot:
                projects.render(project, copilot)
        refused = sorted({f"{service} for {name}" for service, name in project.refused()})
        if refused:
            session.report.say(
                f"Copilot renders nothing of {', '.join(refused)}, so what it would deploy there is not "
                "judged yet: run this again when that is repaired."
            )
        found = silence.finish(project.root, {*judge(project, RENDERED), *written.result()})
    for note in project.notes:
        session.report.say(note)
    return found


def judge(project: Project, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """Return the rules' findings. The project must be rendered first if a rule of RENDERED is among them."""
    chosen = [rule for rule in rules if project.has_test_profile or rule not in OF_TEST]
    return sorted({*project.unreadable, *(finding for rule in chosen for finding in rule(project))})


def _fix(session: Session, *, plan: bool, today: date | None = None) -> None:
    """Correct what has one right answer; with `plan` only show it.

    First come words of the manifests, because Copilot renders nothing of a misspelt type, then what they
    lack, then the patches of Lambda runtimes. Raises SettingsError or Refused.
    """

    def read() -> Project:
        return projects.read(session.settings, today, session.shell)

    def of_patches(project: Project, copilot: Renderer) -> Iterator[patches.Change]:
        for owner in (*project.services, patches.ENVIRONMENTS):
            try:
                yield from patches.changes(project.root, [owner], project.names, copilot, project.today)
            except SettingsError as error:  # the others can be corrected
                session.report.say(str(error))

    def of_manifests(project: Project, copilot: Renderer) -> Iterator[patches.Change]:
        projects.render(project, copilot)
        return cures.additions(project)

    count = _write(session, list(cures.words(read())), plan=plan)
    for find in (of_manifests, of_patches):
        project = read()
        with renderer.opened(session, project) as copilot:
            count += _write(session, list(find(project, copilot)), plan=plan)
    if not count:
        session.report.say("There is nothing that --fix can correct.")
    elif plan:
        would = f"{display.counted(count, 'file')} would change; nothing was changed."
        session.report.say(f"{would} What has several right answers is left to you: `invoke check` shows it.")


def _write(session: Session, changes: list[patches.Change], *, plan: bool) -> int:
    """Show the changes, and write them unless `plan`, whose result they are; return their number."""
    root = session.settings.root
    for line in cures.shown(changes, root):
        (session.report.data if plan else session.report.say)(line)
    for change in () if plan else changes:
        patches.write(change, root)
    return len(changes)
