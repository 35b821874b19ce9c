"""A branch's own service: its manifest, made in the branch's worktree from the one that the branch has.

It differs from the branch's own only where it must: the service's name, the host name that it answers to, and
the end of its database's name.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from copilot_testenv.copilot.manifest import inside, read
from copilot_testenv.copilot.sidecars import running_project
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.settings import SERVICE_TYPE, Settings

SUFFIX = "DATABASE_SUFFIX"  # the variable that the project appends to its database's name
_PATCHES = Path("overrides/cfn.patches.yml")
_NAMES = frozenset({"alias", "hosted_zone"})  # Copilot makes records of the one in the other


_LABEL = 63  # characters between two dots of a host name; RFC 1035


def host(settings: Settings, domain: str) -> str:
    """Return the host name that a branch's own service answers to.

    Raises SettingsError where it can have none.

    `domain` is the application's, empty where it has none. Below it, it is Copilot's own name for a service:
    that lies in the environment's zone and is on its certificate already, by a wildcard. In the sandbox it is
    below localhost, which browsers take for this machine.
    """
    if settings.target == "sandbox":
        return f"{settings.slug}.localhost"
    if settings.test_domain:
        return f"{settings.slug}.{settings.test_domain}"
    if not domain or _imports_certificates(settings):
        has = "has no domain" if not domain else f"imports certificates in {settings.test_env}"
        raise SettingsError(
            f"The application {settings.app} {has}, so a branch of its own would have no host name: "
            "an application gets one when it is made (`copilot app init --domain example.com`). Or import a "
            "wildcard certificate in the environment's manifest (http.public.certificates), let the "
            "wildcard's DNS record point to its load balancer, and set TEST_DOMAIN. Without --isolated the "
            "branch goes to the shared slot."
        )
    if len(settings.service) > _LABEL:
        raise SettingsError(
            f"The host name of {settings.service} would begin with {len(settings.service)} characters, and "
            f"DNS takes {_LABEL}: give the service {settings.base} a shorter name, or set TEST_DOMAIN."
        )
    return f"{settings.service}.{settings.test_env}.{settings.app}.{domain}"


def _imports_certificates(settings: Settings) -> bool:
    """Return True where the environment brings a certificate: Copilot then names no service by itself."""
    for file in (settings.root / "copilot/environments" / settings.test_env).glob("manifest.y*ml"):
        found: Any = read(file)
        for key in ("http", "public", "certificates"):
            found = found.get(key) if isinstance(found, dict) else None
        if found:
            return True
    return False


def generate(folder: Path, settings: Settings, name: str) -> Path:
    """Write `copilot/<service>/` into a worktree, for the host `name`. Returns the manifest.

    Raises Refused where the branch has such a service itself, SettingsError where its own manifest cannot be
    the model of another.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - a deploy to the shared slot pays nothing for it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    base, own = folder / "copilot" / settings.base, folder / "copilot" / settings.service
    for workspace in (folder, settings.root):
        if (workspace / "copilot" / settings.service).exists():
            raise Refused(
                f"copilot/{settings.service} is a service of the project's own: a branch of that name cannot "
                "have its own beside it. Rename the branch, or deploy it to the shared slot."
            )
    inside(own, folder)  # before anything is written
    try:
        shutil.copytree(base, own, symlinks=True)
        manifest = inside(own / "manifest.yml", folder)
        yaml = YAML()
        yaml.preserve_quotes = True
        yaml.width = 10_000
        found = yaml.load(manifest.read_text(encoding="utf-8"))
        rules = _edit(found, settings, name)
        with manifest.open("w", encoding="utf-8") as file:
            yaml.dump(found, file)
        if settings.target == "sandbox":
            _answer_to_host_only(inside(own / _PATCHES, folder), name, rules)
    except (YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"copilot/{settings.base}/manifest.yml of the branch cannot be read: "
            f"{' '.join(str(error).split())}."
        ) from error
    except OSError as error:
        raise Failed(f"copilot/{settings.service} could not be written in the worktree: {error}.") from error
    return manifest


def _edit(manifest: Any, settings: Settings, name: str) -> int:
    """Change the manifest in place; how many listener rules it has. Raises SettingsError."""
    kind = manifest.get("type") if isinstance(manifest, dict) else None
    if kind != SERVICE_TYPE:
        raise SettingsError(
            f"copilot/{settings.base}/manifest.yml is of type {kind!r}, and only a {SERVICE_TYPE} can "
            "have a host name of its own: deploy it to the shared slot."
        )
    manifest["name"] = settings.service
    block = _mapping(manifest, "environments", settings.test_env)
    users = [_mapping(block, "sidecars", name) for name in running_project(manifest, block)]
    for container in (block, *users):
        _mapping(container, "variables")[SUFFIX] = settings.database_suffix
    # An environment's list takes the place of the base's.
    more = _rules(block) or _rules(manifest)
    for holder in (manifest, block):  # nobody else's name, whoever wrote it
        _without_aliases(holder)
    if settings.target == "aws" and settings.test_domain:
        http = _mapping(block, "http")
        http["alias"] = name
        if more:
            http["additional_rules"] = [{**rule, "alias": name} for rule in more]
    return 1 + len(more)


def _without_aliases(holder: Any) -> None:
    """Take the host names out of the load balancers' parts, those that anchors and merges bring too."""
    for section in ("http", "nlb"):
        found = holder.get(section)
        if not isinstance(found, dict):
            continue
        rules = found.get("additional_rules")
        listed = isinstance(rules, list) and any(
            isinstance(rule, dict) and _NAMES & set(rule) for rule in rules
        )
        if not listed and not _NAMES & set(found):
            continue
        kept = {key: value for key, value in found.items() if key not in _NAMES}
        if isinstance(rules, list):
            kept["additional_rules"] = [
                {key: value for key, value in rule.items() if key not in _NAMES}
                if isinstance(rule, dict)
                else rule
                for rule in rules
            ]
        holder[section] = kept


def _rules(holder: Any) -> list[Any]:
    """Return the additional rules of a manifest's `http`. Raises SettingsError where they are none."""
    http = holder.get("http")
    found = http.get("additional_rules") or [] if isinstance(http, dict) else []
    if not isinstance(found, list) or not all(isinstance(rule, dict) for rule in found):
        raise SettingsError("The manifest's `http.additional_rules` must be a list of mappings.")
    return found


def _mapping(holder: Any, *keys: str) -> Any:
    """Return what stands under these keys, made where it is missing.

    Raises SettingsError where it is no mapping.
    """
    for key in keys:
        found = holder.get(key)
        if found is None:
            found = holder[key] = {}
        if not isinstance(found, dict):
            raise SettingsError(f"The manifest's `{key}` is no mapping, and a branch's own needs one there.")
        holder = found
    return holder


def _answer_to_host_only(file: Path, name: str, rules: int) -> None:
    """In the sandbox, without a domain, a patch gives the listener's rules the host name."""
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
