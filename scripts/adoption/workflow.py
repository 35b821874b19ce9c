"""`invoke adopt`: look at the project, show what would change, ask, write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import disposable
from scripts.adoption import changes, copies, django_settings, dockerfile, gitignore, service_manifest
from scripts.adoption.changes import Change, Left
from scripts.adoption.project import Project, look, require_committed
from scripts.errors import Refused, UsageError
from scripts.report import confirm

if TYPE_CHECKING:
    from scripts.environment import Bench

_TEMPLATES = Path(__file__).with_name("templates")
_PATCHES = "overrides/cfn.patches.yml"
_BY_HAND = (
    "{}. Copilot's templates name a runtime that AWS no longer takes for new functions: `invoke check "
    "--fix` writes a patch for each."
)
_NO_LISTENER = (
    "it is missing, and ours patches a function (RulePriorityFunction) that Copilot writes only where the "
    "load balancer listens for the service, which `http` does not say of every environment; a patch of what "
    "is not there fails the deploy"
)


def adopt(bench: Bench, *, into: str, service: str, yes: bool, plan: bool) -> None:
    """Bring the tasks into a project. Raises UsageError, SettingsError, Refused, Failed."""
    ours = bench.settings.root.resolve()
    root = _folder(into)
    if root == ours or ours in root.parents:
        raise Refused(f"{root} is in this repository, which has the tasks: name another one with --into.")
    project = look(bench.shell, root, service, bench.settings.test_env)
    files = copies.sources(bench.shell, ours)
    found = list(_plan(project, ours, files))
    to_write = [each for each in found if isinstance(each, Change)]
    left = [each for each in found if isinstance(each, Left)]
    for change in to_write:
        project.require_no_link(change.path)

    bench.report.say(f"Into {root}, for its service {project.service} in {project.test_env}:")
    changes.show(bench.report, to_write, left)
    if not to_write:
        bench.report.say("Nothing to do: all that can be added is there.")
        return
    if project.bytes(_environment_path(project)) is not None:
        bench.report.say(
            f"There is an environment `{project.test_env}` already: these tasks will replace what is "
            "deployed in it. If people use it, set TEST_ENV to another name, and that one is written."
        )
    if plan:
        bench.report.say(f"{len(to_write)} files would be written. Nothing was changed.")
        return
    require_committed(bench.shell, project, [change.path for change in to_write if change.before is not None])
    confirm(bench.report, f"Write these {len(to_write)} files into {root}?", yes=yes)
    changes.write(root, to_write)
    name = project.test_env
    named = "" if name == disposable.IN_SANDBOX else f"TEST_ENV={name} "
    mark = (
        f"  {named}.venv/bin/invoke create-env --mark-disposable {name} --confirm {name}\n" if named else ""
    )
    bench.report.say(
        f"Written: {len(to_write)} files. Look at `git diff` there and commit, then try it:\n"
        "  python3 -m venv .venv && .venv/bin/pip install -q -r requirements-sandbox.txt\n"
        f"{mark}  {named}.venv/bin/invoke deploy-test --branch $(git branch --show-current)\n"
        "docs/adopt.md says what AWS needs."
    )


def _folder(into: str) -> Path:
    if not into.strip():
        raise UsageError("Into which repository? Write --into PATH.")
    root = Path(into).expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f"--into {into}: there is no such folder.")
    return root


def _plan(project: Project, ours: Path, files: list[str]) -> Iterator[Change | Left]:
    own_dockerfile = project.text(project.dockerfile) is None
    static = _serves_static(project, own=own_dockerfile)
    yield from copies.plan(project, ours, files)
    for found in (
        *_environment(project, ours),
        _new(project, dockerfile.IGNORE, _TEMPLATES / "dockerignore") if own_dockerfile else None,
        dockerfile.plan(project, copies.pins(ours)),
        dockerfile.plan_ignore(project),
        gitignore.plan(project),
        service_manifest.plan(project, static=static),
        django_settings.plan(project, static=static),
    ):
        if found is not None:
            yield found


def _serves_static(project: Project, *, own: bool) -> bool:
    """With a Dockerfile of ours, static files are collected at the start, unless a proxy has them."""
    http = project.manifest.get("http")
    return own and not (isinstance(http, dict) and http.get("target_container"))


def _new(project: Project, path: str, source: Path) -> Change | None:
    """A file as it is here, where the project has none of that name."""
    if project.bytes(path) is not None:
        return None
    return Change(path, None, source.read_bytes())


def _environment_path(project: Project) -> str:
    return f"copilot/environments/{project.test_env}/manifest.yml"


def _environment(project: Project, ours: Path) -> Iterator[Change | Left | None]:
    """The environment's manifest, and the patches that Copilot's templates need to be deployed at all."""
    path = _environment_path(project)
    if project.bytes(path) is None:
        text = (
            f"# The environment `{project.test_env}`: network, cluster and load balancer.\n"
            f"name: {project.test_env}\ntype: Environment\n\nobservability:\n  container_insights: false\n"
        )
        yield Change(path, None, text.encode())
    for folder, source in (
        (f"copilot/{project.service}", "copilot/web"),
        ("copilot/environments", "copilot/environments"),
    ):
        yield _patches(project, f"{folder}/{_PATCHES}", ours / source / _PATCHES)


def _patches(project: Project, path: str, source: Path) -> Change | Left | None:
    there = project.text(path)
    overrides = path.rsplit("/", 1)[0]
    if there is None:
        if (project.root / overrides / "cdk.json").exists():
            return Left(overrides, _BY_HAND.format("it is overridden by the CDK"))
        if path.startswith(f"copilot/{project.service}/") and not project.has_listener:
            return Left(path, _BY_HAND.format(_NO_LISTENER))
        return Change(path, None, source.read_bytes())
    if "/Properties/Runtime" in there:
        return None
    return Left(path, _BY_HAND.format("it has patches, and none of a Lambda runtime"))
