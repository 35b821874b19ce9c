"""Environment variables, then .env, then the committed settings, then defaults: one frozen Settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml
from dotenv import dotenv_values

from copilot_testenv.core import committed, display, protection, trust
from copilot_testenv.core.errors import Refused, SettingsError

SERVICE_TYPE = "Load Balanced Web Service"  # the one type that has a URL to show
DeployTarget = Literal["sandbox", "aws"]

# Copilot's own rule for the names of applications, environments and services.
# Source: internal/pkg/cli/validate.go of aws/copilot-cli 1.34.
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# A line and no YAML: every task reads the settings, and most no manifest.
_TYPE_LINE = re.compile(rf"""^type:[ \t]*(['"]?){SERVICE_TYPE}\1[ \t]*(#.*)?\r?$""", re.MULTILINE)
_DURATION = re.compile(r"(\d+)\s*([smhdw])")
# The environments that are protected wherever PROTECTED_ENVS may be silent; docs/iam has their prefixes.
_PROTECTED = ("production", "prod", "live", "stage", "staging")
# Made-up rows come from the project's own command, where it has one.
_FILL_STAGE = (
    "python manage.py migrate --noinput && if python manage.py help fill_stage >/dev/null 2>&1; "
    "then python manage.py fill_stage --megabytes {megabytes}; fi"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Settings:
    """What one run works with. `timeout` is in seconds, `stage_megabytes` in MB.

    `service` is the one that this run deploys or deletes: the workspace's own in the shared slot, or one made
    from it for a branch, which then has a `slug`.
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
    test_domain: str = ""  # of the host names of isolated deployments; empty: the application's
    default_branch: str = ""  # what branches are compared with; empty: origin's HEAD, main or master
    trusted: frozenset[str] = (
        frozenset()
    )  # changes of a branch that are allowed: names of copilot_testenv.core.trust
    manifest_variables: tuple[str, ...] = ()  # of this environment, which manifests may name as `${NAME}`
    slug: str = ""

    @property
    def base(self) -> str:
        """The workspace's service, which an isolated one is made from."""
        return self.service.removesuffix(f"-{self.slug}") if self.slug else self.service

    @property
    def manifest(self) -> Path:
        return self.root / "copilot" / self.base / "manifest.yml"

    @property
    def stack_name(self) -> str:
        return f"{self.app}-{self.test_env}-{self.service}"

    @property
    def database_suffix(self) -> str:
        """What an isolated deployment's database is called after the shared one's name."""
        return f"_{self.slug.replace('-', '_')}" if self.slug else ""

    @property
    def shared(self) -> Settings:
        """The same for the shared slot."""
        return replace(self, service=self.base, slug="")

    def isolated_for(self, slug: str) -> Settings:
        """Return the same for a branch's own service beside the shared one."""
        return replace(self, service=f"{self.base}-{slug}", slug=slug)


def seconds(text: str, name: str) -> float:
    """Return `90s`, `45m`, `12h`, `5d`, `2w` in seconds. Raises SettingsError, naming the setting."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match or not int(match[1]):
        raise SettingsError(f"{name}={text!r} is not a duration: write for example 45m, 12h or 5d.")
    return float(int(match[1]) * _SECONDS[match[2]])


def find_workspace(folder: Path) -> Path:
    """Return the workspace that a folder lies in: it, or the next one above it that has `copilot/`.

    Raises SettingsError where there is none.
    Source: internal/pkg/workspace/workspace.go of aws/copilot-cli 1.34.
    """
    for each in (folder, *folder.parents):
        if (each / "copilot").is_dir():
            return each
    raise SettingsError(
        f"There is no folder copilot/ in {folder} or above it: go to the repository with your manifests."
    )


def load(root: Path, environ: Mapping[str, str], *, elsewhere: bool = False) -> Settings:
    """Read and check the settings. Raises SettingsError (2) or, for a protected environment, Refused (3).

    `elsewhere`: TEST_ENV is an environment of another workspace, so this one need not have it.
    """
    file = root / ".env"
    try:
        from_file = dotenv_values(file, interpolate=False) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.") from error
    sources: tuple[Mapping[str, str | None], ...] = (environ, from_file, committed.read(root))

    def value(name: str, default: str) -> str:
        # An error that quotes it tells no secret, even where it was meant for another setting.
        return display.Given(
            next((found for source in sources if (found := source.get(name)) is not None), default)
        )

    def every(name: str) -> str:
        """Return what all sources say together: nobody's own settings take a protection away."""
        return display.Given(",".join(found for source in sources if (found := source.get(name))))

    for name, given in {**from_file, **environ}.items():
        display.keep_secret(name, given or "")

    in_ci = environ.get("CI", "").strip().lower() not in {"", "0", "false"}
    settings = Settings(
        root=root,
        app=_name("COPILOT_APP", value("COPILOT_APP", "") or _workspace_application(root)),
        service=_name("COPILOT_SERVICE", value("COPILOT_SERVICE", _workspace_service(root))),
        test_env=value("TEST_ENV", "test"),
        protected_envs=_protected(every("PROTECTED_ENVS")),
        ttl=value("DEPLOY_TTL", "friday 18:00 Europe/London"),
        timeout=seconds(value("DEPLOY_TIMEOUT", "45m"), "DEPLOY_TIMEOUT"),
        target=_target(value("DEPLOY_TARGET", ""), in_ci=in_ci),
        stage_megabytes=_megabytes(value("SANDBOX_STAGE_MB", "50")),
        stage_command=value("SANDBOX_STAGE_COMMAND", "") or _FILL_STAGE,
        in_ci=in_ci,
        test_domain=check_domain("TEST_DOMAIN", value("TEST_DOMAIN", "")),
        default_branch=value("DEFAULT_BRANCH", "").strip(),
        trusted=trust.parse(value(trust.SETTING, ""), trust.SETTING),
        manifest_variables=_manifest_variables(value("MANIFEST_VARIABLES", "")),
    )
    (_guard_name if elsewhere else guard_environment)(settings.test_env, settings)
    # Plain text from here on: YAML's and other libraries' writers know no text of a type of ours.
    plain: dict[str, Any] = {
        each.name: str(value)
        for each in fields(settings)
        if isinstance(value := getattr(settings, each.name), str) and each.name != "ttl"
    }
    return replace(settings, **plain)


def _protected(text: str) -> tuple[str, ...]:
    """Return the protected environments: the built-in ones and those of PROTECTED_ENVS.

    Raises SettingsError.
    """
    named = [part.strip() for part in text.split(",")] if text.strip() else []
    for part in named:
        # No separator but the comma: `customer;demo` would be one name, and protect neither.
        if not NAME.fullmatch(protection.folded(part)) or re.search(r"[^\w-]", part):
            raise SettingsError(
                f"PROTECTED_ENVS={text!r} has {display.Given(part)!r}, which cannot be an environment's "
                "name: write names with commas between them, as in PROTECTED_ENVS=customer,demo-eu. What "
                f"begins with {_begin_like()} is protected without being written there."
            )
    return tuple(dict.fromkeys((*_PROTECTED, *map(protection.folded, named))))


def _begin_like() -> str:
    return ", ".join(f"{word}…" for word in protection.PREFIXES)


def protector(name: str, settings: Settings) -> str:
    """Return the word or name that protects an environment of that name from every task.

    It is empty where none does.
    """
    return protection.protector(name, settings.protected_envs)


def guard_environment(name: str, settings: Settings) -> None:
    """Refuse an environment that no task here may change, before any process is started.

    Raises Refused (3) for a protected one and for one whose name others continue, SettingsError (2) for an
    empty, malformed or unknown one.
    """
    _guard_name(name, settings)
    known = sorted(
        path.parent.name for path in (settings.root / "copilot/environments").glob("*/manifest.yml")
    )
    if name not in known:
        raise SettingsError(
            f"TEST_ENV={name!r} is not an environment of this workspace ({', '.join(known) or 'none'}): "
            f"copilot/environments/{name}/manifest.yml does not exist."
        )
    longer = [other for other in (*known, *settings.protected_envs) if other.startswith(f"{name}-")]
    if longer:
        # Rights are given by stacks' names (docs/iam.md): whoever may change APP-test-* may change them too.
        raise Refused(
            f"TEST_ENV={name!r} is how the name of another environment begins ({', '.join(longer)}), and so "
            "do its stacks' names: a role that may change the one may change the other. Rename one of them."
        )


def _guard_name(name: str, settings: Settings) -> None:
    if not name.strip():
        raise SettingsError(
            "TEST_ENV is empty: `copilot svc delete` with an empty environment deletes the service from "
            "every environment, production included. Set TEST_ENV=test, or leave it unset."
        )
    if word := protector(name, settings):
        raise Refused(
            f"TEST_ENV={name!r} is a protected environment (it reads like {word!r}; {_begin_like()} and "
            "those of PROTECTED_ENVS are protected): these tasks only ever touch the throw-away one. Set "
            "TEST_ENV to its name."
        )
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"TEST_ENV={name!r} cannot be an environment's name: lower case letters, digits and dashes."
        )


def _name(setting: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise SettingsError(
            f"{setting}={value!r} cannot be a Copilot name: lower case letters, digits and dashes."
        )
    return value


def check_domain(name: str, value: str) -> str:
    """Return the value, empty or a domain. Raises SettingsError, naming the setting or flag."""
    if value and not re.fullmatch(r"(?=.{1,190}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", value):
        raise SettingsError(f"{name}={value!r} is no domain: write for example test.example.com.")
    return value


def _manifest_variables(value: str) -> tuple[str, ...]:
    """Return the names, sorted. Raises SettingsError where one cannot be given to a branch's manifest."""
    names = sorted({part.strip() for part in value.split(",") if part.strip()})
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SettingsError(
                f"MANIFEST_VARIABLES={value!r}: {name!r} cannot be a variable's name: write names, with "
                "commas between them."
            )
        if name.upper().startswith(("AWS_", "COPILOT_")):
            raise SettingsError(
                f"MANIFEST_VARIABLES={value!r}: {name} is never given to a manifest, for every branch could "
                "read it. Take it out of the list."
            )
    return tuple(names)


def _target(value: str, *, in_ci: bool) -> DeployTarget:
    if not value.strip():
        if in_ci:
            raise SettingsError(
                "DEPLOY_TARGET is not set and this is CI: a pipeline must not be green because it deployed "
                "to itself. Set DEPLOY_TARGET=aws, or DEPLOY_TARGET=sandbox if you mean it."
            )
        return "sandbox"
    if value not in get_args(DeployTarget):
        raise SettingsError(f"DEPLOY_TARGET={value!r} is unknown: write sandbox or aws.")
    return cast("DeployTarget", value)


def _megabytes(value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", value):
        raise SettingsError(f"SANDBOX_STAGE_MB={value!r} is not a whole number of megabytes from 1 to 99999.")
    return int(value)


def _workspace_service(root: Path) -> str:
    """Return the only service with a URL in the workspace; `web` where there are several or none."""
    found = []
    for file in (root / "copilot").glob("*/manifest.yml"):
        with suppress(OSError, UnicodeDecodeError):  # whoever works with that manifest says what is wrong
            if file.is_file() and _TYPE_LINE.search(file.read_text(encoding="utf-8")):
                found.append(file.parent.name)
    return found[0] if len(found) == 1 else "web"


def _workspace_application(root: Path) -> str:
    file = root / "copilot" / ".workspace"
    try:
        if file.exists() and not file.is_file():
            raise OSError("it is no regular file")  # noqa: TRY301 - told below, like every other reason
        found = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(
            f"COPILOT_APP is not set and {file} cannot be read: {error}. "
            "Run this in the repository's folder, or set COPILOT_APP."
        ) from error
    return str(found.get("application", "")) if isinstance(found, dict) else ""
