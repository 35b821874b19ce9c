"""Find the host names that manifests take at load balancers, and refuse those that `test` must not take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copilot_testenv.copilot import manifest, yaml_positions
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.protection import folded
from copilot_testenv.core.settings import Settings

_Keys = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True)
class Alias:
    """A host name that a service takes in an environment, and the keys that lead to it in the manifest.

    `inherited`: it is in the base of the manifest, so every environment without its own host name has it too.
    """

    name: str
    keys: _Keys
    inherited: bool


def of(found: Mapping[str, Any], environment: str) -> Iterator[Alias]:
    """Yield the aliases that a service has in an environment.

    The environment's own alias replaces the base's, and so does its list of additional rules. Copilot does
    not count an empty one as a value: it keeps the base's, or refuses. Source: seen on Copilot 1.34.1.
    """
    blocks = found.get("environments")
    block = blocks.get(environment) if isinstance(blocks, dict) else None
    block = block if isinstance(block, dict) else {}
    own: _Keys = ("environments", environment)
    for section in ("http", "nlb"):
        base_part, part = found.get(section), block.get(section)
        if part is False or (part is None and base_part is False):
            continue
        for holder, start, inherited in ((part, own, False), (base_part, (), True)):
            named = list(_names(_get(holder, "alias"), (*start, section, "alias"), inherited=inherited))
            yield from named
            if named:
                break
        for holder, start, inherited in ((part, own, False), (base_part, (), True)):
            rules = _get(holder, "additional_rules")
            if isinstance(rules, list) and rules:
                for number, rule in enumerate(rules):
                    keys = (*start, section, "additional_rules", number, "alias")
                    yield from _names(_get(rule, "alias"), keys, inherited=inherited)
                break


def place(found: Mapping[str, Any], environment: str) -> tuple[frozenset[str], str]:
    """Return the host names that a service has in an environment, and the path that it answers to."""
    base = manifest.mapping(found, "http")
    path = manifest.mapping(found, "environments", environment, "http").get("path", base.get("path"))
    return frozenset(_plain(alias.name) for alias in of(found, environment)), f"/{path or ''}".replace(
        "//", "/"
    )


def clash(one: str, other: str) -> bool:
    """Return True where the same request could match both names, because they are equal or have a wildcard.

    Load balancers compare without case; `*` stands for any characters, `?` for one.
    Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
    """
    first, second = _plain(one), _plain(other)
    return first == second or bool(_pattern(first).fullmatch(second) or _pattern(second).fullmatch(first))


def require_own(text: str, where: str, settings: Settings) -> None:
    """Raise SettingsError, with the line, where the test environment inherits an alias from the base."""
    found = manifest.parse(text, where)
    for alias in of(found, settings.test_env):
        if alias.inherited:
            raise SettingsError(
                f"{where}:{line(text, alias.keys)}: {settings.test_env} has the host name {alias.name} of "
                f"the base, which belongs to another environment: {instead(alias, settings.test_env)}."
            )


def instead(alias: Alias, environment: str, *, is_needed: bool = False) -> str:
    """Return the advice for the manifest. Copilot takes no empty alias, so the base must have none.

    `is_needed`: the environment imports a certificate, so Copilot deploys no service without an alias there.
    """
    keys = ".".join(key for key in alias.keys if isinstance(key, str))
    why = ", which Copilot wants because it imports a certificate" if is_needed else " only if it needs one"
    return (
        f"move `{keys}` below the environments that need it (`environments.production.{keys}`), and write "
        f"another one below `environments.{environment}`{why}"
    )


def require_free(names: Mapping[str, str], settings: Settings, folders: list[Path]) -> None:
    """Raise Refused, with file and line, where a manifest gives one of these host names to another service.

    `names` maps each host name to its source; `folders` are the workspaces whose manifests are read. The
    services of the shared slot may have their own aliases in the test environment, or one together, and no
    other.
    """
    for folder in folders:
        for file in workspace_files.similar_service_files(folder):
            service = file.parent.name
            if settings.slug and service == settings.service:
                continue
            try:
                text = manifest.inside(file, folder).read_text(encoding="utf-8-sig")
                found = manifest.parse(text, str(file.relative_to(folder)))
            except (OSError, UnicodeDecodeError, SettingsError):
                continue  # Copilot reports the error
            shown = file.relative_to(folder).as_posix()
            for environment, alias in _all(found):
                mine = environment == settings.test_env and service in settings.peers and not settings.slug
                for name, source in names.items():
                    if not mine and clash(name, alias.name):
                        where = f"{shown}:{line(text, alias.keys)}"
                        raise _taken(
                            name, source, f"{where} gives {alias.name} to {service} in {environment}"
                        )


def _taken(name: str, source: str, by: str) -> Refused:
    return Refused(
        f"{source} would have the host name {name}, and {by}: the branch would receive its requests. "
        "Nothing was changed. Rename the branch, set TEST_DOMAIN to a domain that has no other names below "
        "it, or remove the name from the manifest."
    )


def require_domain_of_its_own(settings: Settings, domain: str) -> None:
    """Raise SettingsError where TEST_DOMAIN contains names of the application's other environments.

    `domain` is the application's, empty where it has none.
    """
    test = settings.test_domain
    if not test or not domain:
        return
    others = workspace_files.environment_names(settings.root) | set(settings.protected_envs)
    zone = f"{settings.app}.{domain}"
    reserved = [f"{name}.{zone}" for name in others if folded(name) != folded(settings.test_env)]
    if domain == test or domain.endswith(f".{test}") or zone == test:
        why = f"it is the domain of the application {settings.app} ({zone}), or above it"
    elif any(test == name or test.endswith(f".{name}") for name in reserved):
        why = "it lies in another environment's zone"
    else:
        return
    raise SettingsError(
        f"TEST_DOMAIN={test!r} would give branches names of other services, such as www.{test}: {why}. Set "
        f"it to a domain for test environments only, such as try.{domain}, or leave it unset: branches then "
        f"have names below {settings.test_env}.{zone}."
    )


def line(text: str, keys: _Keys) -> int:
    """Return the line of the value under these keys.

    Where one is missing, the line of the last that exists.
    """
    node, found = yaml_positions.read(text, "the manifest"), 1
    for key in keys:
        real = node.real
        if isinstance(key, int):
            if key >= len(real.items):
                break
            node = real.items[key]
            found = node.line
        else:
            entry = real.entry(key)
            if entry is None:
                break
            node, found = entry.value, entry.line
    return found


def _all(found: Mapping[str, Any]) -> Iterator[tuple[str, Alias]]:
    """Yield each alias with its environment; aliases of the base also for "any environment"."""
    blocks = found.get("environments")
    names = [name for name in (blocks if isinstance(blocks, dict) else ()) if isinstance(name, str)]
    for name in [*names, "any environment"]:
        for alias in of(found, name):
            yield name, alias


def _names(value: Any, keys: _Keys, *, inherited: bool) -> Iterator[Alias]:
    """Yield the names in a text (with commas), a list of texts, or a list of {name: …}."""
    for item in value if isinstance(value, list) else [value]:
        name = _get(item, "name") if isinstance(item, dict) else item
        if isinstance(name, str):
            for part in name.split(","):
                if part.strip():
                    yield Alias(part.strip(), keys, inherited)


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, dict) else None


def _plain(name: str) -> str:
    """Return the name with a wildcard in place of each variable, because a variable can have any value."""
    return _VARIABLE.sub("*", name).strip().rstrip(".").lower()


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in name))
