"""Read and check the project's STAGE_COPY setting."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .problems import Misconfigured
from .secret import Hidden, shown

FAKES = ("email", "name", "phone")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_KNOWN = (
    "exclude_data", "mask", "mask_key", "personal", "skip", "orphans", "golden", "jobs", "memory", "verify",
    "release_file",
)  # fmt: skip
_REMOVED = ("unlogged", "split", "freeze")  # options of earlier versions


@dataclass(frozen=True)
class Rule:
    """A rule for a column's values."""

    kind: str  # "keep", "null", "value", "call" or one of FAKES
    value: str | None = None  # for "value", as Postgres reads it
    call: Callable[[str | None], str | None] | None = None


@dataclass(frozen=True)
class Golden:
    """The unchanged copy of staging on the target's server from which branches' databases are cloned."""

    max_age: float  # seconds after which it is refreshed
    spare: bool = False  # keep one clone ready


@dataclass(frozen=True)
class Options:
    """The setting STAGE_COPY; docs/copy.md explains each key."""

    exclude_data: tuple[str, ...] = ()  # "table", "schema.table", or globs of them
    mask: Mapping[str, Rule] = field(default_factory=dict)  # "table.column" or "schema.table.column" -> rule
    mask_key: str = field(default="", repr=False)  # the key from which fake values are derived; never shown
    personal: tuple[str, ...] = ()  # more words that make a column's name look personal
    skip: tuple[str, ...] = ()  # objects that are not made: "view public.sales", "policy account tenant"
    keep_orphans: bool = False  # foreign keys that rows break become NOT VALID
    golden: Golden | None = None
    jobs: int = 2  # connections to each server that move rows and build indexes
    memory: int = 256  # MiB that one index build may take in the server (maintenance_work_mem)
    verify: bool = False  # compare a checksum of every table
    release_file: str = ""  # instead of deployment.json beside manage.py

    @classmethod
    def read(cls, settings: Mapping[str, Any], *, key: str) -> Options:
        """Parse the setting STAGE_COPY. Fake values are derived from `key` if the setting has no mask_key.

        Raise Misconfigured, which names the wrong entry and the allowed values.
        """
        if not isinstance(settings, Mapping):
            raise Misconfigured("STAGE_COPY is not a dictionary: write STAGE_COPY = {...}")
        for name in settings:
            if name in _REMOVED:
                raise Misconfigured(f'STAGE_COPY["{name}"] is not an option any more: take it out')
            _require_known(str(name), _KNOWN, "STAGE_COPY")
        mask = settings.get("mask", {})
        if not isinstance(mask, Mapping):
            raise Misconfigured('STAGE_COPY["mask"] is not a dictionary: write {"table.column": rule, ...}')
        found = {str(column): _rule(str(column), rule) for column, rule in mask.items()}
        secret = Hidden(settings.get("mask_key") or key)
        return cls(
            exclude_data=_names(settings, "exclude_data"),
            mask=found,
            # A digest instead of the key itself, because each session sends it to staging's server. Only its
            # repr hides a Hidden: formatted, it is the text itself, and here nothing but the digest keeps it.
            mask_key=Hidden(hashlib.sha256(f"stage_copy {secret}".encode()).hexdigest()),
            personal=_names(settings, "personal"),
            skip=_names(settings, "skip"),
            keep_orphans=_orphans(settings.get("orphans")),
            golden=_golden(settings.get("golden")),
            jobs=_number(settings, "jobs", cls.jobs),
            memory=_number(settings, "memory", cls.memory),
            verify=_flag(settings, "verify", default=cls.verify),
            release_file=str(settings.get("release_file", "")),
        )


def nearest(name: str, known: object) -> str:
    """Return the most similar known name as the end of a message; empty if there is none."""
    close = difflib.get_close_matches(name, [str(one) for one in known], 1, 0.5)  # type: ignore[attr-defined]
    return f": did you mean {close[0]!r}?" if close else ""


def _require_known(name: str, names: tuple[str, ...], where: str) -> None:
    if name not in names:
        raise Misconfigured(
            f"{where} has no {name!r}{nearest(name, names) or ': it has ' + ', '.join(names)}"
        )


def _rule(column: str, rule: Any) -> Rule:
    where = f'STAGE_COPY["mask"]["{column}"]'
    if rule is None or rule == "null":
        return Rule("null")
    if callable(rule):
        return Rule("call", call=rule)
    if isinstance(rule, Mapping) and set(rule) == {"value"}:
        value = rule["value"]
        return Rule("null") if value is None else Rule("value", _literal(value))
    if isinstance(rule, Mapping) and set(rule) == {"call"}:
        return Rule("call", call=_imported(str(rule["call"]), where))
    if isinstance(rule, str) and rule in (*FAKES, "keep"):
        return Rule(rule)
    raise Misconfigured(
        f"{where} is not a rule: it may be "
        + ", ".join(f'"{name}"' for name in ("keep", "null", *FAKES))
        + ', {"value": ...} or {"call": "module.function"}'
    )


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _imported(path: str, where: str) -> Callable[[str | None], str | None]:
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise Misconfigured(f"{where}: {path!r} cannot be imported: {error}") from None
    if not callable(found):
        raise Misconfigured(f"{where}: {path!r} is not a function")
    return found  # type: ignore[no-any-return]  # a wrong signature shows when it is called


def _orphans(setting: Any) -> bool:
    if setting not in (None, "not valid"):
        raise Misconfigured(f'STAGE_COPY["orphans"] is {shown(setting)}: it may be "not valid", or left out')
    return setting is not None


def _golden(setting: Any) -> Golden | None:
    if setting is None or setting is False:
        return None
    where = 'STAGE_COPY["golden"]'
    if not isinstance(setting, Mapping):
        raise Misconfigured(f'{where} is not a dictionary: write {{"max_age": "24h", "spare": True}}')
    for name in setting:
        _require_known(str(name), ("max_age", "spare"), where)
    age = str(setting.get("max_age", "24h"))
    if not (match := re.fullmatch(r"(\d+)([smhdw])", age)):
        raise Misconfigured(
            f'{where}["max_age"] is {shown(age)}: write a number and a unit, "90m", "24h" or "7d"'
        )
    return Golden(int(match[1]) * _UNITS[match[2]], spare=_flag(setting, "spare", default=False))


def _names(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = settings.get(name, ())
    if not isinstance(value, (list, tuple, set)) or not all(isinstance(word, str) for word in value):
        raise Misconfigured(f'STAGE_COPY["{name}"] is not a list of names: write ["one", "another"]')
    return tuple(value)


def _number(settings: Mapping[str, Any], name: str, default: int) -> int:
    value = settings.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Misconfigured(f'STAGE_COPY["{name}"] is {shown(value)}: it must be a whole number, 1 or more')
    return value


def _flag(settings: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = settings.get(name, default)
    if not isinstance(value, bool):
        raise Misconfigured(f'STAGE_COPY: "{name}" is {shown(value)}: it must be True or False')
    return value
