"""Read the settings: from environment variables, else .env, else the committed settings, else defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml
from dotenv import dotenv_values

from copilot_testenv.core import (
    committed,
    display,
    office_hours,
    protection,
    setting_values,
    trust,
    workspace_files,
)
from copilot_testenv.core.errors import Refused, SettingsError, malformed

SERVICE_TYPE = "Load Balanced Web Service"  # the only type with a URL that these tasks can show
DeployTarget = Literal["sandbox", "aws"]
COPILOT, CLOUDFORMATION = "copilot", "cloudformation"  # of DEPLOY_WITH

# Copilot's own rule for the names of applications, environments and services.
# Source: internal/pkg/cli/validate.go of aws/copilot-cli 1.34.
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# Not parsed as YAML, which is slow: every task reads the settings, and most tasks read no manifest.
_TYPE_LINE = re.compile(rf"""^type:[ \t]*(['"]?){SERVICE_TYPE}\1[ \t]*(#.*)?\r?$""", re.MULTILINE)
_DURATION = re.compile(r"(\d+)\s*([smhdw])")
# protection.PREFIXES protects these names already. They are listed for the checks that ask if a branch names
# another environment: those compare whole names.
_PROTECTED = ("production", "prod", "live", "stage", "staging")
# The project's own command makes the rows, where the project has such a command.
_FILL_STAGE = (
    "python manage.py migrate --noinput && if python manage.py help fill_stage >/dev/null 2>&1; "
    "then python manage.py fill_stage --megabytes {megabytes}; fi"
)
_CAPACITIES = ("manifest", "spot-first")
_CONTAINERS = ("auto", "engine", "processes")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Settings:
    """The settings of one run. `timeout` is in seconds, `stage_megabytes` in MB.

    This run deploys or deletes `service`. In the shared slot it is the workspace's own service. In an
    isolated deployment it is a service that is made from that one for a branch; `slug` is then the branch's.
    """

    root: Path
    app: str
    service: str
    test_env: str
    protected_envs: tuple[str, ...]
    ttl: str
    timeout: float
    target: DeployTarget
    stage_megabytes: int
    stage_command: str
    in_ci: bool
    test_domain: str = ""  # host names of isolated deployments are below it; empty: below the application's
    hosted_zone: str = ""  # Route 53's id of test_domain's zone, in which Copilot keeps the records
    capacity: str = "manifest"  # or spot-first: deploy on demand where Spot has no room
    default_branch: str = ""  # branches are compared with it; empty: origin's HEAD, main or master
    trusted: frozenset[str] = frozenset()  # the changes that a branch may make: names in core.trust
    manifest_variables: tuple[str, ...] = ()  # environment variables that manifests may use as `${NAME}`
    sandbox_environments: tuple[str, ...] = ()  # that the sandbox makes besides; `all`: each with a manifest
    containers: str = "auto"  # what runs the sandbox's containers: auto, engine or processes
    services: tuple[str, ...] = ()  # all services that belong to a branch; empty: `service` alone
    own_services: tuple[str, ...] = ()  # those that are deployed beside the web service, not in its task
    hours: office_hours.OfficeHours | None = None  # outside them deployments sleep; None: always awake
    deploy_with: str = COPILOT  # what deploys: Copilot's binary, or CLOUDFORMATION itself
    configured: bool = True  # the workspace has settings of these tasks, or TEST_ENV is set
    slug: str = ""
    web: str = ""  # the workspace's web service, where this one is another service of its slot

    @property
    def base(self) -> str:
        """The workspace's own service; an isolated one is made from it."""
        return self.service.removesuffix(f"-{self.slug}") if self.slug else self.service

    @property
    def companions(self) -> tuple[str, ...]:
        """The services that are sidecars of a branch's web service."""
        own = () if self.web else self.services
        return tuple(name for name in own if name not in {self.base, *self.own_services})

    @property
    def others(self) -> tuple[Settings, ...]:
        """The settings of the slot's other services: those that are deployed beside its web service."""
        return tuple(self.other(name) for name in self.own_services if name != self.base)

    def other(self, name: str) -> Settings:
        """Return the settings of another service of the slot, by its name in the workspace."""
        service = f"{name}-{self.slug}" if self.slug else name
        return replace(self, service=service, web=self.web or self.base)

    @property
    def slot(self) -> str:
        """The service that the slot is named by: its web service."""
        web = self.web or self.base
        return f"{web}-{self.slug}" if self.slug else web

    @property
    def host_label(self) -> str:
        """The first part of its host name below TEST_DOMAIN or localhost: the page's is the slug alone."""
        return self.service if self.web else self.slug

    @property
    def peers(self) -> tuple[str, ...]:
        """The names in the workspace of the services that the slot has one of each, this one among them."""
        return tuple(dict.fromkeys((self.web or self.base, *self.own_services)))

    @property
    def manifest(self) -> Path:
        return self.root / "copilot" / self.base / workspace_files.NAME

    @property
    def stack_name(self) -> str:
        return f"{self.app}-{self.test_env}-{self.service}"

    @property
    def database_suffix(self) -> str:
        """The end of the name of an isolated deployment's database; it follows the shared database's name."""
        return f"_{self.slug.replace('-', '_')}" if self.slug else ""

    @property
    def shared(self) -> Settings:
        """The same settings for the shared slot."""
        return replace(self, service=self.base, slug="")

    def filled(self, text: str) -> str:
        """Return a manifest's text with the two variables that Copilot itself sets in it."""
        named = {"COPILOT_APPLICATION_NAME": self.app, "COPILOT_ENVIRONMENT_NAME": self.test_env}
        for name, value in named.items():
            text = text.replace(f"${{{name}}}", value)
        return text

    def isolated_for(self, slug: str) -> Settings:
        """Return the same settings for a branch's own service beside the shared one."""
        return replace(self, service=f"{self.base}-{slug}", slug=slug)


def seconds(text: str, name: str) -> float:
    """Return a duration (`45m`, `5d`, `2w`) in seconds. Raises SettingsError; for a flag, UsageError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match or not int(match[1]):
        raise malformed(name, f"{name}={text!r} is not a duration: write for example 45m, 12h or 5d.")
    return float(int(match[1]) * _SECONDS[match[2]])


def find_workspace(folder: Path) -> Path:
    """Return the nearest folder that contains `copilot/`: this folder or one above it.

    Raises SettingsError where no such folder exists.
    Source: internal/pkg/workspace/workspace.go of aws/copilot-cli 1.34.
    """
    for candidate in (folder, *folder.parents):
        if (candidate / "copilot").is_dir():
            return candidate
    raise SettingsError(
        f"There is no folder copilot/ in {folder} or above it: run this in your manifests' repository."
    )


def load(
    root: Path, environ: Mapping[str, str], *, elsewhere: bool = False, checking: bool = False
) -> Settings:
    """Read and check the settings. Raises SettingsError (2) or, for a protected environment, Refused (3).

    With `elsewhere`, TEST_ENV is an environment of another workspace, so this one need not have it. With
    `checking` nothing is deployed: the workspace may have no application, no test environment, and no target.
    """
    file = root / ".env"
    try:
        from_file = dotenv_values(file, interpolate=False) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.") from error
    sources: tuple[Mapping[str, str | None], ...] = (environ, from_file, committed.read(root))

    def value(name: str, default: str) -> str:
        # Given: an error that quotes the value shows no secret, even one that belongs to another setting.
        return display.Given(
            next((found for source in sources if (found := source.get(name)) is not None), default)
        )

    def every(name: str) -> str:
        """Return the values of all sources together, so that a user's own settings remove no protection."""
        return display.Given(",".join(found for source in sources if (found := source.get(name))))

    for name, given in {**from_file, **environ}.items():
        display.keep_secret(name, given or "")

    in_ci = environ.get("CI", "").strip().lower() not in {"", "0", "false"}
    named = any(source.get("TEST_ENV") for source in sources)
    application = value("COPILOT_APP", "")
    if not application:
        application = _likely_application(root) if checking else _workspace_application(root)
    settings = Settings(
        root=root,
        app=_name("COPILOT_APP", application),
        service=_name("COPILOT_SERVICE", value("COPILOT_SERVICE", _workspace_service(root))),
        test_env=value("TEST_ENV", "test"),
        protected_envs=_protected(every("PROTECTED_ENVS")),
        ttl=value("DEPLOY_TTL", "friday 18:00 Europe/London"),
        timeout=seconds(value("DEPLOY_TIMEOUT", "45m"), "DEPLOY_TIMEOUT"),
        target=_target(value("DEPLOY_TARGET", "sandbox" if checking else ""), in_ci=in_ci),
        stage_megabytes=setting_values.megabytes(value("SANDBOX_STAGE_MB", "50")),
        stage_command=value("SANDBOX_STAGE_COMMAND", "") or _FILL_STAGE,
        in_ci=in_ci,
        test_domain=check_domain("TEST_DOMAIN", value("TEST_DOMAIN", "")),
        hosted_zone=setting_values.hosted_zone(value("TEST_HOSTED_ZONE", "")),
        capacity=_one_of("TEST_CAPACITY", value("TEST_CAPACITY", "manifest"), _CAPACITIES),
        default_branch=value("DEFAULT_BRANCH", "").strip(),
        trusted=trust.parse(value(trust.SETTING, ""), trust.SETTING),
        manifest_variables=setting_values.manifest_variables(value("MANIFEST_VARIABLES", "")),
        sandbox_environments=_environments(value("SANDBOX_ENVIRONMENTS", "")),
        containers=_one_of("SANDBOX_CONTAINERS", value("SANDBOX_CONTAINERS", "auto"), _CONTAINERS),
        services=_services("COPILOT_SERVICES", value("COPILOT_SERVICES", "")),
        own_services=_services("COPILOT_OWN_SERVICES", value("COPILOT_OWN_SERVICES", "")),
        hours=office_hours.parse(value(office_hours.SETTING, "")),
        deploy_with=_one_of("DEPLOY_WITH", value("DEPLOY_WITH", COPILOT), (COPILOT, CLOUDFORMATION)),
        configured=named or bool(sources[-1]),
    )
    if named or not checking:
        (_guard_name if elsewhere else guard_environment)(settings.test_env, settings)
    # Convert to plain strings: YAML and other libraries cannot write a subclass of str.
    plain: dict[str, Any] = {
        each.name: str(value)
        for each in fields(settings)
        if isinstance(value := getattr(settings, each.name), str) and each.name != "ttl"
    }
    return replace(settings, **plain)


def _protected(text: str) -> tuple[str, ...]:
    """Return the protected environments: built-in names and names in PROTECTED_ENVS. Raises SettingsError."""
    named = [part.strip() for part in text.split(",")] if text.strip() else []
    for part in named:
        # The comma is the only separator: `customer;demo` would be one name, and would protect neither.
        if not NAME.fullmatch(protection.folded(part)) or re.search(r"[^\w-]", part):
            raise SettingsError(
                f"PROTECTED_ENVS={text!r} has {display.Given(part)!r}, which cannot be an environment's "
                "name: write names with commas between them, as in PROTECTED_ENVS=customer,demo-eu. A "
                f"name is always protected {_protected_words()}."
            )
    return tuple(dict.fromkeys((*_PROTECTED, *map(protection.folded, named))))


def _protected_words() -> str:
    begins, ends = ", ".join(protection.PREFIXES), ", ".join(protection.ENDINGS)
    return f"if a part of it begins with one of {begins}, or ends with one of {ends}"


def protector(name: str, settings: Settings) -> str:
    """Return the rule that protects an environment from every task; see protection.protector."""
    return protection.protector(name, settings.protected_envs)


def guard_environment(name: str, settings: Settings) -> None:
    """Raise an error for an environment that no task may change; it is called before any process starts.

    Raises Refused (3) where the environment is protected, or another one's name begins with its name and a
    dash; SettingsError (2) where the name is empty, malformed or unknown.
    """
    _guard_name(name, settings)
    known = list(workspace_files.environments(settings.root))
    if name not in known:
        raise SettingsError(
            f"TEST_ENV={name!r} is not an environment of this workspace ({', '.join(known) or 'none'}): "
            f"copilot/environments/{name}/manifest.yml does not exist."
        )
    others = (*sorted(workspace_files.environment_names(settings.root)), *settings.protected_envs)
    if longer := workspace_files.longer_names(name, others):
        raise Refused(
            f"TEST_ENV={name!r} is also how another environment's name begins ({', '.join(longer)}), and so "
            "do the names of its stacks: a role that may change the first may change the second. Give the "
            "test environment another name."
        )


def _guard_name(name: str, settings: Settings) -> None:
    if not name.strip():
        raise SettingsError(
            "TEST_ENV is empty: `copilot svc delete` with an empty environment deletes the service from "
            "every environment, production included. Set TEST_ENV=test, or leave it unset."
        )
    if rule := protector(name, settings):
        raise Refused(
            f"TEST_ENV={name!r} is a protected environment, by the rule {rule!r}. A name is protected "
            f"{_protected_words()}, or if the whole begins with a name in PROTECTED_ENVS. These tasks change "
            "only a throw-away environment: set TEST_ENV to its name."
        )
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"TEST_ENV={name!r} cannot be an environment's name: use lower case letters, digits and dashes."
        )


def _name(setting: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise SettingsError(
            f"{setting}={value!r} cannot be a Copilot name: use lower case letters, digits and dashes."
        )
    return value


def _services(setting: str, value: str) -> tuple[str, ...]:
    """Return the names, each once. Raises SettingsError where one cannot be a service's name."""
    parts = (part.strip() for part in value.split(","))
    return tuple(dict.fromkeys(str(_name(setting, part)) for part in parts if part))


def check_domain(name: str, value: str) -> str:
    """Return the value: a domain, or empty. Raises SettingsError with the name of the setting or flag."""
    if value and not re.fullmatch(r"(?=.{1,190}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", value):
        raise SettingsError(f"{name}={value!r} is not a domain: write for example test.example.com.")
    return value


def _target(value: str, *, in_ci: bool) -> DeployTarget:
    if not value.strip():
        if in_ci:
            raise SettingsError(
                "DEPLOY_TARGET is not set and this is CI: a pipeline must not succeed because it deployed to "
                "its own sandbox. Set DEPLOY_TARGET=aws, or DEPLOY_TARGET=sandbox if you want that."
            )
        return "sandbox"
    if value not in get_args(DeployTarget):
        raise SettingsError(f"DEPLOY_TARGET={value!r} is unknown: write sandbox or aws.")
    return cast("DeployTarget", value)


def _environments(value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    for name in names:
        if not NAME.fullmatch(name):
            raise SettingsError(
                f"SANDBOX_ENVIRONMENTS={value!r}: {name!r} cannot be an environment's name: write names with "
                "commas between them, or all."
            )
    return names


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise SettingsError(f"{name}={value!r} is unknown: write {', '.join(known)}.")
    return value


def _workspace_service(root: Path) -> str:
    """Return the only service with a URL in the workspace; `web` where there are several or none."""
    services = []
    for file in workspace_files.services(root).values():
        with suppress(OSError, UnicodeDecodeError):  # a task that uses this manifest reports the error
            if file.is_file() and _TYPE_LINE.search(file.read_text(encoding="utf-8")):
                services.append(file.parent.name)
    return services[0] if len(services) == 1 else "web"


def names_application(root: Path, application: str) -> bool:
    """Return True if the workspace names this application, as Copilot wants to read it."""
    with suppress(SettingsError):
        return _workspace_application(root) == application
    return False


def _likely_application(root: Path) -> str:
    """Return the workspace's application; a name made of the folder's where it names none."""
    try:
        found = _workspace_application(root)
    except SettingsError:
        found = ""
    if NAME.fullmatch(found):
        return found
    words = re.findall(r"[a-z0-9]+", (found or root.name).lower())
    name = "-".join(words).lstrip("0123456789-")
    return name or "app"


def _workspace_application(root: Path) -> str:
    file = root / "copilot" / ".workspace"
    try:
        if file.exists() and not file.is_file():
            raise OSError("it is not a regular file")  # noqa: TRY301 - handled below, like every other reason
        workspace = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(
            f"COPILOT_APP is not set and {file} cannot be read: {error}. "
            "Run this in the repository's folder, or set COPILOT_APP."
        ) from error
    return str(workspace.get("application", "")) if isinstance(workspace, dict) else ""
