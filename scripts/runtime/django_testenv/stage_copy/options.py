"""Read and check the project's STAGE_COPY setting."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import after, amounts, rules
from .amounts import Amount
from .known_names import require_known
from .problems import Misconfigured
from .rules import Rule
from .secret import Hidden, shown

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_KNOWN = (
    "exclude_data", "sample", "mask", "mask_key", "personal", "large_objects", "skip", "orphans", "golden",
    "after", "jobs", "memory", "verify", "release_file",
)  # fmt: skip
_REMOVED = ("unlogged", "split", "freeze")  # options of earlier versions


@dataclass(frozen=True)
class Golden:
    """The unchanged copy of staging on the target's server from which branches' databases are cloned."""

    max_age: float  # seconds after which it is refreshed
    spare: bool = False  # keep one clone ready


@dataclass(frozen=True)
class Options:
    """The setting STAGE_COPY; docs/copy.md explains each key."""

    exclude_data: tuple[str, ...] = ()  # "table", "schema.table", or globs of them
    sample: Mapping[str, Amount] = field(default_factory=dict)  # "table" or "schema.table" -> its rows
    mask: Mapping[str, Rule] = field(default_factory=dict)  # "table.column" or "schema.table.column" -> rule
    mask_key: str = field(default="", repr=False)  # the key from which fake values are derived; never shown
    personal: tuple[str, ...] = ()  # more words that make a column's name look personal
    large_objects: str = ""  # "keep" or "drop"; empty: kept, which --require-mask refuses
    skip: tuple[str, ...] = ()  # objects that are not made: "view public.sales", "policy account tenant"
    keep_orphans: bool = False  # foreign keys that rows break become NOT VALID
    golden: Golden | None = None
    after: tuple[after.Step, ...] = ()  # what changes the new database before it takes the target's place
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
            require_known(str(name), _KNOWN, "STAGE_COPY")
        mask = settings.get("mask", {})
        if not isinstance(mask, Mapping):
            raise Misconfigured('STAGE_COPY["mask"] is not a dictionary: write {"table.column": rule, ...}')
        found = {str(column): rules.read(str(column), rule) for column, rule in mask.items()}
        secret = Hidden(settings.get("mask_key") or key)
        return cls(
            exclude_data=_names(settings, "exclude_data"),
            sample=amounts.read(settings.get("sample", {})),
            mask=found,
            # A digest instead of the key itself, because each session sends it to staging's server. Only its
            # repr hides a Hidden: formatted, it is the text itself, and here nothing but the digest keeps it.
            mask_key=Hidden(hashlib.sha256(f"stage_copy {secret}".encode()).hexdigest()),
            personal=_names(settings, "personal"),
            large_objects=_large_objects(settings.get("large_objects", "")),
            skip=_names(settings, "skip"),
            keep_orphans=_orphans(settings.get("orphans")),
            golden=_golden(settings.get("golden")),
            after=after.read(settings.get("after", ())),
            jobs=_number(settings, "jobs", cls.jobs),
            memory=_number(settings, "memory", cls.memory),
            verify=_flag(settings, "verify", default=cls.verify),
            release_file=str(settings.get("release_file", "")),
        )


def _large_objects(setting: Any) -> str:
    if setting not in ("", "keep", "drop"):
        raise Misconfigured(
            f'STAGE_COPY["large_objects"] is {shown(setting)}: it may be "keep", which copies '
            'them as they are, or "drop"'
        )
    return str(setting)


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
        require_known(str(name), ("max_age", "spare"), where)
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
