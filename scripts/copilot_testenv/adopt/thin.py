"""Plan the files of a project: a short tasks.py, settings, requirements, wheels, manifest and patches."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

import copilot_testenv
from copilot_testenv.adopt import copies, images, origin, stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.images import VENDOR
from copilot_testenv.adopt.project import Project, workloads
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.copilot import manifest
from copilot_testenv.core import committed
from copilot_testenv.core.errors import SettingsError

REQUIREMENTS = "requirements-testenv.txt"
DEPLOY_REQUIREMENTS = "requirements-testenv-deploy.txt"  # a deploy in CI installs these, without the sandbox
SETTINGS = committed.FILE
MENU = "tasks.py"
_MENU_FOLDER = "tasks/__init__.py"  # Python imports it instead of tasks.py
# The first line is for ruff's CPY001: no linter may find anything in a file that its owner did not write.
_TASKS = '''\
# ruff: noqa: CPY001, RUF100
"""Tasks for test environments: `invoke --list` shows them."""

ns = __import__("copilot_testenv.namespace").namespace.ns
'''
# There is no import statement: a team's own tasks must work where these tasks are not installed, and linters
# and type checkers must not find anything.
_ADDED = """\
for _entry in __import__("importlib.metadata").metadata.entry_points(
    group="copilot_testenv",
):
    _entry.load()(globals())
"""
_WHEEL = re.compile(r"(copilot_testenv|copilot_sandbox|django_testenv)-[^/]+\.whl")
_NO_MENU = """\
it is not a collection of Invoke, but Invoke would load it instead of a tasks.py. Write a file with another
name, such as testenv.py, and run `invoke --collection testenv`:
    ns = __import__("copilot_testenv.namespace").namespace.ns"""
_ENVIRONMENT = """\
# The throw-away environment: network, cluster and load balancer.
name: {name}
type: Environment

observability:
  container_insights: false

# Addresses of its own, so that its VPC can be peered with the one whose database is copied: Copilot's default
# is 10.0.0.0/16 for each environment. Other addresses on an environment that is deployed mean a new VPC.
network:
  vpc:
    cidr: 10.1.0.0/16
    subnets:
      public: [{{cidr: 10.1.0.0/24}}, {{cidr: 10.1.1.0/24}}]
      private: [{{cidr: 10.1.2.0/24}}, {{cidr: 10.1.3.0/24}}]
"""
_PATCHES = "overrides/cfn.patches.yml"
_BY_HAND = (
    "{}. Copilot's templates name a runtime that AWS no longer accepts for new functions: `invoke check "
    "--fix` writes a patch for each."
)
# Copilot writes these functions only for an environment that imports no certificate, and one list of patches
# is for all. Source: templates/environment/partials/lambdas.yml of aws/copilot-cli 1.34.
_CERTIFICATES = ("CertificateValidationFunction", "CustomDomainFunction", "DNSDelegationFunction")
# Without a listener and autoscaling, EnvControllerFunction is all that Copilot writes for these.
_WITH_CONTROLLER = frozenset({"Backend Service", "Worker Service", "Scheduled Job"})
_NO_LISTENER = (
    "it is missing. Ours patches a function (RulePriorityFunction) that Copilot writes only with a listener "
    "rule of the load balancer, and `http` does not give one to every environment; a patch of a missing "
    "function fails the deploy"
)


def plan(
    renewal: Renewal, source: origin.Origin, wheels: Mapping[str, bytes], *, deploys: bool
) -> Iterator[Change | NotChanged | None]:
    """Yield the changes of these files, and the files that must be left to the owner, with the reason.

    `deploys`: CI deploys too, and gets a requirements file of its own.
    """
    project = renewal.project
    yield _menu(renewal, source)
    if project.bytes(SETTINGS) is not None or not committed.read(project.root):  # else in pyproject.toml
        yield renewal.plan_file(SETTINGS, _settings(project))
    yield from _requirement(renewal, source, wheels, deploys=deploys)
    yield from _environment(renewal, source)


def runtime_wheel(wheels: Mapping[str, bytes]) -> str:
    """Return the name of the wheel that the images install."""
    return origin.require_addresses(wheels)["django-testenv"]


def vendored(
    project: Project, wheels: Mapping[str, bytes], found: Sequence[Change | NotChanged]
) -> Iterator[Change]:
    """Yield the wheels to write, and the wheels of other versions to delete.

    The requirements name the tasks' wheels, so these wheels stay if the requirements stay. A wheel that the
    Dockerfile still names is not deleted.
    """
    requirements_stay = any(isinstance(item, NotChanged) and item.path == REQUIREMENTS for item in found)
    after = {item.path: item.after for item in found if isinstance(item, Change)}
    built = [images.main(project), *images.others(project)]
    named = b"".join(
        after.get(path) or project.bytes(path) or b"" for path in {each.build.dockerfile for each in built}
    )
    runtime = runtime_wheel(wheels)
    folders = {posixpath.dirname(each.wheel(runtime)) for each in built}
    for folder in sorted({VENDOR, *folders}):
        for name, content in wheels.items():
            current = project.bytes(f"{folder}/{name}")
            is_wanted = folder in folders if name == runtime else folder == VENDOR and not requirements_stay
            if current != content and is_wanted:
                yield Change(f"{folder}/{name}", current, content, is_shown=False)
        for name in project.listed(folder):
            wheel = _WHEEL.fullmatch(name)
            is_of_tasks = wheel is not None and wheel[1] != "django_testenv"
            is_used = name in wheels or name.encode() in named or (requirements_stay and is_of_tasks)
            if wheel and not is_used:
                yield Change(f"{folder}/{name}", project.bytes(f"{folder}/{name}"), None)


def _menu(renewal: Renewal, source: origin.Origin) -> Change | NotChanged | None:
    """Plan a tasks.py if there is none, else a block at the end of the existing one."""
    in_folder = renewal.project.text(_MENU_FOLDER)
    path = MENU if in_folder is None else _MENU_FOLDER
    current = renewal.project.text(path)
    if current is None:
        return renewal.plan_file(path, _TASKS)
    if block := stamps.find(current.replace("\r\n", "\n")):
        return renewal.plan_block(path, current, _TASKS if block.is_whole else _ADDED)
    if copies.is_copy(renewal, source, path):
        return Change(path, current.encode(), stamps.whole(_TASKS).encode())
    if in_folder is not None and not re.search(r"\binvoke\b", current):
        return NotChanged(path, _NO_MENU)
    own = re.sub(r"(?m)^from test_environments import \*.*\r?\n", "", current)  # of a version without wheels
    return Change(path, current.encode(), stamps.appended(own, _ADDED, empty_lines=2).encode())


def _settings(project: Project) -> str:
    return (
        "# The settings of the test environments that this team shares. Settings of one\n"
        "# person or of CI come from the environment, then from .env.\n"
        f'service = "{project.service}"\n'
        f'environment = "{project.test_env}"\n'
        "# Environments that no task may ever change, besides production and staging.\n"
        "protected = []\n"
        'ttl = "friday 18:00 Europe/London"\n'
    )


def _requirement(
    renewal: Renewal, source: origin.Origin, wheels: Mapping[str, bytes], *, deploys: bool
) -> Iterator[Change | NotChanged | None]:
    """Plan the requirements files with exact versions of these tasks and of their dependencies."""
    whole = _pinned(
        source, wheels, REQUIREMENTS, ("copilot-testenv", "copilot-sandbox"), "requirements-sandbox.txt"
    )
    yield renewal.plan_file(REQUIREMENTS, whole, is_shown=False)
    if deploys:
        fewer = _pinned(source, wheels, DEPLOY_REQUIREMENTS, ("copilot-testenv",), "requirements.txt")
        yield renewal.plan_file(DEPLOY_REQUIREMENTS, fewer, is_shown=False)


def _pinned(
    source: origin.Origin, wheels: Mapping[str, bytes], path: str, ours: Sequence[str], others: str
) -> str:
    """Return a requirements file: our packages `ours` with their hashes, and the list in file `others`."""
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


def _environment(renewal: Renewal, source: origin.Origin) -> Iterator[Change | NotChanged | None]:
    """Plan the environment's manifest, and the patches without which AWS refuses Copilot's templates."""
    project = renewal.project
    yield renewal.plan_file(project.environment_path, _ENVIRONMENT.format(name=project.test_env))
    of_service = source.text(f"copilot/web/{_PATCHES}")
    yield _patches(renewal, source, f"copilot/{project.service}/{_PATCHES}", of_service)
    yield from _other_workloads(renewal, source, of_service)
    path, body = f"copilot/environments/{_PATCHES}", source.text(f"copilot/environments/{_PATCHES}")
    importing = _importing(project)
    if importing:
        functions = "|".join(_CERTIFICATES)
        body = re.sub(rf"- op: replace\n  path: /Resources/({functions})/.*\n  value: .*\n", "", body)
    yield _patches(renewal, source, path, body)
    if importing and project.bytes(path) is None:
        yield NotChanged(
            importing,
            f"it imports a certificate, so its template has no {' and no '.join(_CERTIFICATES)}, and no "
            "patch of these functions was written: it would fail `copilot env deploy`. Create "
            f"{project.test_env} before 2027-02-01, when AWS makes no new function on the runtime that "
            "Copilot names, or import a certificate there too.",
        )


def _importing(project: Project) -> str:
    """Return the first manifest with an imported certificate, with the line; empty if there is none."""
    found = (certificate_line(project, name) for name in project.listed("copilot/environments"))
    return next(filter(None, found), "")


def certificate_line(project: Project, environment: str) -> str:
    """Return the path and line of the certificate that an environment imports; empty if it imports none."""
    path = f"copilot/environments/{environment}/manifest.yml"
    text = project.text(path) or ""
    found = re.search(r"^ +certificates:\s*\[?\s*(\S)", text, re.MULTILINE)
    return f"{path}:{text.count(chr(10), 0, found.start()) + 1}" if found else ""


def _other_workloads(
    renewal: Renewal, source: origin.Origin, of_service: str
) -> Iterator[Change | NotChanged | None]:
    """Plan the patches of the other services and jobs, whose templates name the same runtimes."""
    project = renewal.project
    for name in workloads(project):
        path = f"copilot/{name}/{_PATCHES}"
        if name == project.service:
            continue
        try:
            found = manifest.parse(project.text(f"copilot/{name}/manifest.yml") or "", f"copilot/{name}")
        except SettingsError:
            continue  # `check` says what is wrong with it
        if found.get("type") in _WITH_CONTROLLER and not re.search(r"'(http|queue_delay|range)'", str(found)):
            one = of_service.partition("- op: replace\n  path: /Resources/RulePriorityFunction")[0]
            yield _patches(renewal, source, path, one)
        elif project.bytes(path) is None:
            yield NotChanged(path, _BY_HAND.format(f"it is missing, for a {found.get('type')}"))


def _patches(renewal: Renewal, source: origin.Origin, path: str, body: str) -> Change | NotChanged | None:
    project = renewal.project
    current = project.text(path)
    overrides = path.rsplit("/", 1)[0]
    if current is None:
        if (project.root / overrides / "cdk.json").exists():
            return NotChanged(overrides, _BY_HAND.format("the CDK overrides it"))
        if path.startswith(f"copilot/{project.service}/") and not project.has_listener:
            return NotChanged(path, _BY_HAND.format(_NO_LISTENER))
    if current is None or stamps.find(current):
        return renewal.plan_file(path, body)
    if current == body or copies.is_copy(renewal, source, path):  # a version without stamps wrote it
        return Change(path, current.encode(), stamps.whole(body).encode())
    if "/Properties/Runtime" in current:
        return None
    return NotChanged(path, _BY_HAND.format("it has patches, but none for a Lambda runtime"))
