"""`invoke adopt`: read the project, show the planned changes, ask for confirmation, write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_testenv.adopt import (
    changes,
    copies,
    django_settings,
    dockerfile,
    gitignore,
    images,
    media,
    other_services,
    pipelines,
    service_manifest,
    thin,
)
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.conditions import (
    apps_without_migrations,
    env_files,
    files_of_the_image,
    hosts_waited_for,
    links_without_url,
    modules_of_the_settings,
    require_committed,
    require_not_ignored,
)
from copilot_testenv.adopt.history import History
from copilot_testenv.adopt.origin import Origin
from copilot_testenv.adopt.project import Project, look, workspace
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.copilot import disposable
from copilot_testenv.core import committed, display, documents, workspace_files
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from copilot_testenv.core.settings import load
from copilot_testenv.core.terminal import confirm

if TYPE_CHECKING:
    from copilot_testenv.session import Session


@dataclass(frozen=True)
class Options:
    """The flags of `adopt`."""

    into: str
    service: str = ""
    source: str = ""
    take: str = ""
    ci: str = ""
    check: bool = False
    yes: bool = False
    plan: bool = False
    media: str = ""


def adopt(session: Session, options: Options) -> None:
    """Add these tasks to a project, or update them there to this version.

    Raises UsageError, SettingsError (with --check if a file is behind this version), Refused, Failed.
    """
    pipelines.require_known(options.ci)
    root = workspace(session.shell, _folder(options.into))
    clone = _clone(session.settings.root.resolve())
    if clone and (root == clone or clone in root.parents):
        raise Refused(f"{root} is in this repository, which has the tasks: name another one with --into.")
    environment = _environment(session, root)
    service = options.service or committed.read(root).get("COPILOT_SERVICE", "")
    service = service or images.only_service(session.shell, root, environment)
    project = look(session.shell, root, service, environment)
    _require_own_name(project, options.into)
    project = replace(project, media=media.buckets(options.media, project.test_block))
    take = frozenset(filter(None, map(str.strip, options.take.split(","))))
    renewal = Renewal(project, History(session.shell, root), take)
    source = Origin(session.shell, clone, options.source)
    copies.require_history(renewal, source)
    session.report.say(f"Into {root}, for its service {project.service} in {project.test_env}:")
    found = [
        *_plan(renewal, source, options.ci),
        *env_files(session.shell, project),
        *apps_without_migrations(session.shell, project),
        *files_of_the_image(session.shell, project),
        *hosts_waited_for(project),
        *links_without_url(session.shell, project),
        *modules_of_the_settings(session.shell, project),
    ]
    written = [each.path for each in found if isinstance(each, Change) and each.after is not None]
    if patterns := gitignore.plan(session.shell, project, written):
        found.append(patterns)
    to_write = [each for each in found if isinstance(each, Change)]
    not_changed = [each for each in found if isinstance(each, NotChanged)]
    if unknown := take - {each.path for each in found}:
        raise UsageError(f"--take {','.join(sorted(unknown))}: nothing is left or written there.")
    for change in to_write:
        project.require_no_link(change.path)
    if options.check:
        _check(session, to_write, not_changed)
        return
    changes.show(session.report, to_write, not_changed)
    if not to_write:
        session.report.say("Nothing to do: all that can be added is there.")
        return
    if _is_there(renewal, to_write):
        session.report.say(
            f"There is an environment `{project.test_env}` already: these tasks will replace what is "
            f"deployed in it. If people use it, make one beside it: {_with_free_name(project, options.into)}."
        )
    if options.plan:
        session.report.say(f"Would write {display.counted(len(to_write), 'file')}. Nothing was changed.")
        return
    require_committed(
        session.shell, project, [change.path for change in to_write if change.before is not None]
    )
    require_not_ignored(
        session.shell, project, [change.path for change in to_write if change.after is not None]
    )
    confirm(session.report, f"Write {display.counted(len(to_write), 'file')} into {root}?", yes=options.yes)
    changes.write(root, project.top, to_write)
    _say_next(session, project.test_env, to_write)


def _plan(renewal: Renewal, source: Origin, forge: str) -> Iterator[Change | NotChanged]:
    project = renewal.project
    wheels = source.wheels()
    wheel = thin.runtime_wheel(wheels)
    static = _serves_static(renewal)
    planned = (
        *thin.plan(renewal, source, wheels, deploys=pipelines.is_wanted(renewal, forge)),
        *pipelines.plan(renewal, forge),
        *copies.plan(renewal, source),
        *dockerfile.plan(renewal, _pins(source), wheel),
        *dockerfile.plan_ignore(renewal, wheel, is_copy=copies.is_copy(renewal, source, dockerfile.IGNORE)),
        service_manifest.plan(renewal, static=static),
        *media.plan(renewal),
        *service_manifest.host_names(project, thin.certificate_line(project, project.test_env)),
        *service_manifest.mappings(project),
        *service_manifest.variables_of_the_deployer(project),
        *other_services.without_branch(project),
        django_settings.plan(renewal, static=static),
        django_settings.unserved_static(project, static=static),
    )
    found = list(copies.of_one_version(project, [each for each in planned if each is not None]))
    yield from found
    yield from thin.vendored(project, wheels, found)


def _check(session: Session, to_write: list[Change], not_changed: list[NotChanged]) -> None:
    """Report that all files are of this version. Raises SettingsError with the names of older files."""
    behind = sorted(
        {*(each.path for each in to_write), *(each.path for each in not_changed if each.is_behind)}
    )
    if behind:
        raise SettingsError(
            f"Behind this version: {display.counted(len(behind), 'file')}: {', '.join(behind)}. "
            "`invoke adopt --into` the same folder, without --check, shows and renews them."
        )
    session.report.say("All that `adopt` has written is as this version writes it.")


def _is_there(renewal: Renewal, to_write: list[Change]) -> bool:
    """Return True if `adopt` is new to the project and its test environment already exists."""
    project = renewal.project
    new = any(each.path == thin.SETTINGS and each.before is None for each in to_write)
    return new and project.bytes(project.environment_path) is not None


def _require_own_name(project: Project, into: str) -> None:
    """Raise Refused where another environment's name begins with that of the test environment and a dash."""
    there = workspace_files.environments(project.root)
    if longer := workspace_files.longer_names(project.test_env, there):
        raise Refused(
            f"The test environment would be {project.test_env}, which is also how the name of {longer[0]} "
            "begins: a role that may change the first could change the second. Give it another name: "
            f"{_with_free_name(project, into)}."
        )


def _with_free_name(project: Project, into: str) -> str:
    """Return the command that adopts with another name, which no environment of the project has."""
    there = project.listed("copilot/environments")
    names = ("preview", "branches", "review", "trial")
    name = next((name for name in names if not any(each.startswith(name) for each in there)), "throwaway")
    return f"`TEST_ENV={name} invoke adopt --into {into}`"


def _say_next(session: Session, name: str, to_write: list[Change]) -> None:
    invoke, new = ".testenv/bin/invoke", sum(each.before is None for each in to_write)
    mark = (
        ""
        if name == disposable.IN_SANDBOX
        else f"  `{invoke} create-env --mark-disposable {name} --confirm {name}`\n"
    )
    session.report.say(
        f"Written: {display.counted(len(to_write), 'file')}, {new} of them new. Look at "
        "`git add --all && git diff --staged` there and commit, then try it:\n"
        f"  `python3 -m venv .testenv && .testenv/bin/pip install -q -r {thin.REQUIREMENTS}`\n"
        f"{mark}  `{invoke} deploy-test --branch $(git branch --show-current)`\n"
        f"{documents.page('adopt.md')} says what AWS needs."
    )


def _folder(into: str) -> Path:
    if not into.strip():
        raise UsageError("Into which repository? Write --into PATH.")
    root = Path(into).expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f"--into {into}: there is no such folder.")
    return root


def _environment(session: Session, root: Path) -> str:
    """Return TEST_ENV, else the environment in the project's committed settings. Raises as `load` does."""
    name = session.environ.get("TEST_ENV") or committed.read(root).get("TEST_ENV")
    if not name:
        return session.settings.test_env
    return load(session.settings.root, {**session.environ, "TEST_ENV": name}, elsewhere=True).test_env


def _clone(root: Path) -> Path | None:
    """Return `root` if it is a clone of these tasks; None if it is a project that uses them."""
    return root if (root / "scripts/copilot_testenv/menu.py").is_file() and (root / "demo").is_dir() else None


def _pins(source: Origin) -> Mapping[str, str]:
    """Return the versions of the packages in the demo's image, which are tested together."""
    text = source.text("demo/requirements.txt")
    pins = {
        name.lower(): version for name, version in re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text)
    }
    return {"Django": pins["django"], "gunicorn": pins["gunicorn"], "whitenoise": pins["whitenoise"],
            "psycopg[binary]": pins["psycopg"]}  # fmt: skip


def _serves_static(renewal: Renewal) -> bool:
    """Return True if the task collects static files: the Dockerfile is ours, and no proxy serves them.

    A project without `django.contrib.staticfiles`, an API for example, has no `collectstatic`.
    """
    project = renewal.project
    settings, http = project.all_settings, project.manifest.get("http")
    if "INSTALLED_APPS" in settings and "django.contrib.staticfiles" not in settings:
        return False
    return dockerfile.is_ours(project) and not (isinstance(http, dict) and http.get("target_container"))
