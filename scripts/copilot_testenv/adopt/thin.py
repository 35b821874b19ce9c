"""The files that come into a project: a menu of three lines, settings, pins and wheels, and Copilot's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import copilot_testenv
from copilot_testenv.adopt import copies, origin, stamps
from copilot_testenv.adopt.changes import Change, Left
from copilot_testenv.adopt.project import Project
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core import committed

VENDOR = "vendor"
REQUIREMENTS = "requirements-testenv.txt"
DEPLOY_REQUIREMENTS = "requirements-testenv-deploy.txt"  # what a deploy in CI installs: without the sandbox
SETTINGS = committed.FILE
MENU = "tasks.py"
_MENU_FOLDER = "tasks/__init__.py"  # which Python imports in place of tasks.py
# The first line is for ruff's CPY001: no linter is to find anything in a file that its owner did not write.
_TASKS = '''\
# ruff: noqa: CPY001, RUF100
"""Tasks for test environments: `invoke --list` shows them."""

ns = __import__("copilot_testenv.namespace").namespace.ns
'''
# No import statement: where these tasks are not installed, a team's own tasks go on, and no linter or type
# checker has anything to say.
_ADDED = """\
for _entry in __import__("importlib.metadata").metadata.entry_points(
    group="copilot_testenv",
):
    _entry.load()(globals())
"""
_WHEEL = re.compile(r"(copilot_testenv|copilot_sandbox|django_testenv)-[^/]+\.whl")
_NO_MENU = """\
Invoke would load this package in place of a tasks.py, and it is none of Invoke's. Write a file of another
name, such as testenv.py, and run `invoke --collection testenv`:
    ns = __import__("copilot_testenv.namespace").namespace.ns"""
_ENVIRONMENT = """\
# The throw-away environment: network, cluster and load balancer.
name: {name}
type: Environment

observability:
  container_insights: false
"""
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


def plan(
    renewal: Renewal, source: origin.Origin, wheels: Mapping[str, bytes], *, deploys: bool
) -> Iterator[Change | Left | None]:
    """Yield what is to be written of these files, and what stands in the way.

    `deploys`: CI deploys too, and has pins of its own.
    """
    project = renewal.project
    yield _menu(renewal, source)
    if project.bytes(SETTINGS) is not None or not committed.read(project.root):  # else in pyproject.toml
        yield renewal.whole(SETTINGS, _settings(project))
    yield from _requirement(renewal, source, wheels, deploys=deploys)
    yield from _environment(renewal, source)


def runtime_wheel(wheels: Mapping[str, bytes]) -> str:
    """Return the path of the wheel that goes into the image."""
    return f"{VENDOR}/{origin.require_addresses(wheels)['django-testenv']}"


def vendored(
    project: Project, wheels: Mapping[str, bytes], found: Sequence[Change | Left]
) -> Iterator[Change]:
    """Yield the wheels to write, and those of another version that go.

    The tasks' are what the requirement names: they stay as they are where that is left. None goes that the
    Dockerfile still names.
    """
    is_left = any(isinstance(each, Left) and each.path == REQUIREMENTS for each in found)
    after = {each.path: each.after for each in found if isinstance(each, Change)}
    image = after.get(project.dockerfile) or project.bytes(project.dockerfile) or b""
    runtime = runtime_wheel(wheels).removeprefix(f"{VENDOR}/")
    for name, content in wheels.items():
        there = project.bytes(f"{VENDOR}/{name}")
        if there != content and (name == runtime or not is_left):
            yield Change(f"{VENDOR}/{name}", there, content, is_shown=False)
    for name in project.listed(VENDOR):
        of = _WHEEL.fullmatch(name)
        kept = name in wheels or name.encode() in image or (is_left and of and of[1] != "django_testenv")
        if of and not kept:
            yield Change(f"{VENDOR}/{name}", project.bytes(f"{VENDOR}/{name}"), None)


def _menu(renewal: Renewal, source: origin.Origin) -> Change | Left | None:
    """Three lines where there is no tasks.py, else a block at the end of it."""
    in_folder = renewal.project.text(_MENU_FOLDER)
    path = MENU if in_folder is None else _MENU_FOLDER
    there = renewal.project.text(path)
    if there is None:
        return renewal.whole(path, _TASKS)
    plain = there.replace("\r\n", "\n")
    if found := stamps.find(plain):
        return renewal.present(path, there, _TASKS if found.is_whole else _ADDED)
    if copies.is_copy(renewal, source, path):
        return Change(path, there.encode(), stamps.whole(_TASKS).encode())
    if in_folder is not None and not re.search(r"\binvoke\b", there):
        return Left(path, _NO_MENU)
    own = re.sub(r"(?m)^from test_environments import \*.*\r?\n", "", there)  # of a version before wheels
    return Change(path, there.encode(), stamps.appended(own, _ADDED, empty_lines=2).encode())


def _settings(project: Project) -> str:
    return (
        "# The settings of the test environments that this team shares. What is of a\n"
        "# person or of CI comes from the environment, then from .env.\n"
        f'service = "{project.service}"\n'
        f'environment = "{project.test_env}"\n'
        "# Environments that no task may ever change, besides production and staging.\n"
        "protected = []\n"
        'ttl = "friday 18:00 Europe/London"\n'
    )


def _requirement(
    renewal: Renewal, source: origin.Origin, wheels: Mapping[str, bytes], *, deploys: bool
) -> Iterator[Change | Left | None]:
    """The pins of these tasks, and of all that they need."""
    whole = _pinned(
        source, wheels, REQUIREMENTS, ("copilot-testenv", "copilot-sandbox"), "requirements-sandbox.txt"
    )
    yield renewal.whole(REQUIREMENTS, whole, is_shown=False)
    if deploys:
        fewer = _pinned(source, wheels, DEPLOY_REQUIREMENTS, ("copilot-testenv",), "requirements.txt")
        yield renewal.whole(DEPLOY_REQUIREMENTS, fewer, is_shown=False)


def _pinned(
    source: origin.Origin, wheels: Mapping[str, bytes], path: str, ours: Sequence[str], others: str
) -> str:
    """Return a file of requirements: these of ours, by their hashes, and a list of others' that they need."""
    names = origin.require_addresses(wheels)
    pins = "".join(
        f"{name}=={copilot_testenv.__version__} \\\n"
        f"    --hash=sha256:{hashlib.sha256(wheels[names[name]]).hexdigest()}\n"
        for name in ours
    )
    return (
        "# For an environment of its own, never for the project's:\n"
        f"#   python3 -m venv .testenv && .testenv/bin/pip install -r {path}\n"
        f"--find-links {VENDOR}\n{pins}{source.text(others)}"
    )


def _environment(renewal: Renewal, source: origin.Origin) -> Iterator[Change | Left | None]:
    """The environment's manifest, and the patches that Copilot's templates need to be deployed at all."""
    project = renewal.project
    yield renewal.whole(project.environment_path, _ENVIRONMENT.format(name=project.test_env))
    for folder, own in (
        (f"copilot/{project.service}", "copilot/web"),
        ("copilot/environments", "copilot/environments"),
    ):
        yield _patches(renewal, f"{folder}/{_PATCHES}", source.text(f"{own}/{_PATCHES}"))


def _patches(renewal: Renewal, path: str, body: str) -> Change | Left | None:
    project = renewal.project
    there = project.text(path)
    overrides = path.rsplit("/", 1)[0]
    if there is None:
        if (project.root / overrides / "cdk.json").exists():
            return Left(overrides, _BY_HAND.format("it is overridden by the CDK"))
        if path.startswith(f"copilot/{project.service}/") and not project.has_listener:
            return Left(path, _BY_HAND.format(_NO_LISTENER))
    if there is None or stamps.find(there):
        return renewal.whole(path, body)
    if there == body:  # by a version before stamps
        return Change(path, there.encode(), stamps.whole(body).encode())
    if "/Properties/Runtime" in there:
        return None
    return Left(path, _BY_HAND.format("it has patches, and none of a Lambda runtime"))
