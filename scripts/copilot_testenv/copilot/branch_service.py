"""Generate the manifest of a branch's own service, in the branch's worktree, from the branch's manifest.

It differs only in the service's name, its host name, and the end of its database's name. Where the branch has
other services of its own too, they name each other by these names.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from copilot_testenv.copilot.manifest import inside, mapping, read
from copilot_testenv.copilot.sidecars import running_project
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.settings import SERVICE_TYPE, Settings

SUFFIX = "DATABASE_SUFFIX"  # the variable that the project appends to its database's name
HOST = "DEPLOYMENT_HOST"  # the variable with the branch's host name, for the steps after a copy
_PATCHES = Path("overrides/cfn.patches.yml")
_NAMES = frozenset({"alias", "hosted_zone"})  # Copilot creates DNS records for the alias in the hosted zone


_LABEL = 63  # characters between two dots of a host name; RFC 1035


@dataclass(frozen=True)
class Addresses:
    """The addresses of a branch's own services; without a host it is the shared slot, which has none.

    `host` is the page's host name. `urls` are the URLs of the slot's web services, without a path, by their
    names in the workspace; empty where the page's service is the only one.
    """

    host: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)

    def host_of(self, settings: Settings) -> str:
        """Return the host name of a service of the slot: its own, or the page's where it has none."""
        return urlsplit(self.urls.get(settings.base, "")).hostname or self.host

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which the branch's services know each other."""
        return {url_variable(name): url for name, url in self.urls.items()}


def url_variable(service: str) -> str:
    """Return the name of the variable with the URL of a web service of the slot: `API_URL` for `api`."""
    return f"{service.upper().replace('-', '_')}_URL"


def host(settings: Settings, domain: str) -> str:
    """Return the host name of a branch's own service. Raises SettingsError where it cannot have one.

    `domain` is the application's, empty where it has none. Below it the service has Copilot's default name,
    which is in the environment's zone and covered by the wildcard of its certificate. In the sandbox the name
    is below localhost, which browsers resolve to this machine.
    """
    if settings.target == "sandbox":
        return f"{settings.host_label}.localhost"
    if settings.test_domain:
        return f"{_checked(settings.host_label, settings)}.{settings.test_domain}"
    if not domain or _imports_certificates(settings):
        has = "has no domain" if not domain else f"imports certificates in {settings.test_env}"
        raise SettingsError(
            f"The application {settings.app} {has}, so an isolated branch would have no host name. An "
            "application gets a domain when it is created (`copilot app init --domain example.com`). Or "
            "import a wildcard certificate in the environment's manifest (http.public.certificates), let "
            "the wildcard's DNS record point to its load balancer, and set TEST_DOMAIN. Or deploy the "
            "branch to the shared slot, without --isolated."
        )
    label = _checked(settings.service, settings)
    return f"{label}.{settings.test_env}.{settings.app}.{domain}"


def _checked(label: str, settings: Settings) -> str:
    if len(label) > _LABEL:
        or_domain = "" if settings.test_domain else ", or set TEST_DOMAIN"
        raise SettingsError(
            f"The first part of the host name of {settings.service} would have {len(label)} characters, and "
            f"DNS allows {_LABEL}: give the service {settings.base} a shorter name{or_domain}."
        )
    return label


def _imports_certificates(settings: Settings) -> bool:
    """Return True where the environment imports a certificate: then services have no default host name."""
    file = workspace_files.environments(settings.root).get(settings.test_env)
    value: Any = read(file) if file else None
    for key in ("http", "public", "certificates"):
        value = value.get(key) if isinstance(value, dict) else None
    return bool(value)


def web_services(folder: Path, settings: Settings) -> list[Settings]:
    """Return those of the slot's other services that are web services in a workspace."""
    return [own for own in settings.others if is_web(folder, own.base)]


def is_web(folder: Path, name: str) -> bool:
    """Return True if the workspace has a web service of that name."""
    file = inside(folder / "copilot" / name / workspace_files.NAME, folder)
    return file.is_file() and read(file).get("type") == SERVICE_TYPE


def generate(folder: Path, settings: Settings, addresses: Addresses) -> Path:
    """Write `copilot/<service>/` into a worktree, for these addresses; return the path of its manifest.

    Raises Refused where the branch already has such a service, SettingsError where the new manifest cannot be
    made from the branch's.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - a deploy to the shared slot does not need it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    base, own = folder / "copilot" / settings.base, folder / "copilot" / settings.service
    for workspace in (folder, settings.root):
        if (workspace / "copilot" / settings.service).exists():
            raise Refused(
                f"copilot/{settings.service} is a service of the project's own, so the branch cannot have a "
                "service of that name. Rename the branch, or deploy it to the shared slot."
            )
    inside(own, folder)  # before anything is written
    try:
        shutil.copytree(base, own, symlinks=True)
        manifest = inside(own / workspace_files.NAME, folder)
        yaml = YAML()
        yaml.preserve_quotes = True
        yaml.width = 10_000
        content = yaml.load(manifest.read_text(encoding="utf-8"))
        has_host = not settings.web or (isinstance(content, dict) and content.get("type") == SERVICE_TYPE)
        rules = (_edit if has_host else _edit_other)(content, settings, addresses)
        with manifest.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
        if settings.target == "sandbox" and rules and not _imports_certificates(settings):
            _answer_to_host_only(inside(own / _PATCHES, folder), addresses.host_of(settings), rules)
    except (YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"copilot/{settings.base}/manifest.yml of the branch cannot be read: "
            f"{' '.join(str(error).split())}."
        ) from error
    except OSError as error:
        raise Failed(f"copilot/{settings.service} could not be written in the worktree: {error}.") from error
    return manifest


def _edit(manifest: Any, settings: Settings, addresses: Addresses) -> int:
    """Change the manifest in place; return its number of listener rules. Raises SettingsError."""
    kind = manifest.get("type") if isinstance(manifest, dict) else None
    if kind != SERVICE_TYPE:
        raise SettingsError(
            f"copilot/{settings.base}/manifest.yml is of type {kind!r}, and only a {SERVICE_TYPE} can "
            "have a host name of its own: deploy it to the shared slot."
        )
    block = _name(manifest, settings, addresses)
    name = addresses.host_of(settings)
    # The environment's list replaces the base's.
    more = _rules(block) or _rules(manifest)
    for holder in (manifest, block):  # every alias in it is another service's name
        _remove_aliases(holder)
    on_aws = settings.target == "aws"
    # To an environment that imports a certificate, Copilot deploys only what has an alias.
    if settings.test_domain if on_aws else _imports_certificates(settings):
        http = _mapping(block, "http")
        http["alias"] = name
        # The record follows the load balancer, which goes with its last service.
        if on_aws and settings.hosted_zone:
            http["hosted_zone"] = settings.hosted_zone
        if more:
            http["additional_rules"] = [{**rule, "alias": name} for rule in more]
    return 1 + len(more)


def _edit_other(manifest: Any, settings: Settings, addresses: Addresses) -> int:
    """Change the manifest of a service without a host name; return 0, its number of listener rules."""
    if not isinstance(manifest, dict):
        raise SettingsError(f"copilot/{settings.base}/manifest.yml is not a mapping.")
    block = _name(manifest, settings, addresses)
    for holder in (manifest, block):
        _remove_aliases(holder)
    return 0


def _name(manifest: Any, settings: Settings, addresses: Addresses) -> Any:
    """Give the service its name and its containers their variables; return the environment's block."""
    _name_peers(manifest, settings)
    manifest["name"] = settings.service
    block = _mapping(manifest, "environments", settings.test_env)
    names = dict.fromkeys(running_project(manifest, block))
    placed = (manifest.get("sidecars") or {}, block.get("sidecars") or {})
    names |= dict.fromkeys(name for name in settings.companions if any(name in each for each in placed))
    users = [_mapping(block, "sidecars", name) for name in names]
    places = [(), *(("sidecars", name) for name in names)]
    secrets = {
        key for each in (manifest, block) for place in places for key in mapping(each, *place, "secrets")
    }
    if taken := sorted(secrets & addresses.variables.keys()):
        raise SettingsError(
            f"copilot/{settings.base}/manifest.yml has the secret {taken[0]}, and an isolated branch has a "
            "variable of that name with the address of its service: give the secret another name."
        )
    variables = {SUFFIX: settings.database_suffix, HOST: addresses.host, **addresses.variables}
    for container in (block, *users):
        _mapping(container, "variables").update(variables)
    return block


def address(settings: Settings) -> str:
    """Return the pattern of a name of service discovery; its group is the service of the slot."""
    environment = rf"(?:{settings.test_env}|\$\{{COPILOT_ENVIRONMENT_NAME\}})"
    application = rf"(?:{settings.app}|\$\{{COPILOT_APPLICATION_NAME\}})"
    found = rf"(?:\$\{{?COPILOT_SERVICE_DISCOVERY_ENDPOINT\b|{environment}\.{application}\.local\b)"
    return rf"(?<![\w.-])({'|'.join(map(re.escape, settings.peers))})(?=\.{found})"


def _name_peers(manifest: Any, settings: Settings) -> None:
    """Name the branch's other services by their own names, in addresses and in subscriptions to topics.

    An address is a name of service discovery; other names, and other services, stay.
    Source: https://aws.github.io/copilot-cli/docs/developing/svc-to-svc-communication/
    """
    named = re.compile(address(settings))
    _walk(manifest, lambda text: named.sub(rf"\1-{settings.slug}", text), set())
    for holder in (manifest, _mapping(manifest, "environments", settings.test_env)):
        subscribed = holder.get("subscribe")
        topics = subscribed.get("topics") if isinstance(subscribed, dict) else None
        for topic in topics if isinstance(topics, list) else ():
            if isinstance(topic, dict) and topic.get("service") in settings.peers:
                topic["service"] = f"{topic['service']}-{settings.slug}"


def _walk(holder: Any, change: Callable[[str], str], seen: set[int]) -> None:
    """Change each text in place, but not where it would stay the same: its quotes stay too."""
    if id(holder) in seen:  # an alias
        return
    seen.add(id(holder))
    entries = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, value in list(entries):
        if isinstance(value, dict | list):
            _walk(value, change, seen)
        elif isinstance(value, str) and (changed := change(value)) != value:
            holder[key] = changed


def _remove_aliases(holder: Any) -> None:
    """Remove the host names from `http` and `nlb`, also those that come through anchors and merges."""
    for section in ("http", "nlb"):
        part = holder.get(section)
        if not isinstance(part, dict):
            continue
        rules = part.get("additional_rules")
        listed = isinstance(rules, list) and any(
            isinstance(rule, dict) and _NAMES & set(rule) for rule in rules
        )
        if not listed and not _NAMES & set(part):
            continue
        kept = {key: value for key, value in part.items() if key not in _NAMES}
        if isinstance(rules, list):
            kept["additional_rules"] = [
                {key: value for key, value in rule.items() if key not in _NAMES}
                if isinstance(rule, dict)
                else rule
                for rule in rules
            ]
        holder[section] = kept


def _rules(holder: Any) -> list[Any]:
    """Return the additional rules of a manifest's `http`. Raises SettingsError where they are malformed."""
    http = holder.get("http")
    rules = http.get("additional_rules") or [] if isinstance(http, dict) else []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise SettingsError("The manifest's `http.additional_rules` must be a list of mappings.")
    return rules


def _mapping(holder: Any, *keys: str) -> Any:
    """Return the mapping under these keys; create it where it is missing. Raises SettingsError."""
    for key in keys:
        value = holder.get(key)
        if value is None:
            value = holder[key] = {}
        if not isinstance(value, dict):
            raise SettingsError(f"The manifest's `{key}` must be a mapping for a branch's own service.")
        holder = value
    return holder


def _answer_to_host_only(file: Path, name: str, rules: int) -> None:
    """Add patches that give the listener's rules the host name; the sandbox has no domain for an alias."""
    patches = "".join(
        f"- op: add\n  path: /Resources/HTTPListenerRule{number or ''}/Properties/Conditions/-\n"
        f"  value:\n    Field: host-header\n    HostHeaderConfig:\n      Values: ['{name}']\n"
        for number in range(rules)
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(
        before + ("" if not before or before.endswith("\n") else "\n") + patches, encoding="utf-8"
    )
