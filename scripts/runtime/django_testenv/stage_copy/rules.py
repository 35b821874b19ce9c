"""Read the rules of STAGE_COPY["mask"]: what becomes of a column's values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import project_code
from .problems import Misconfigured

FAKES = ("email", "name", "phone", "username", "ip")
_WORDS = ("keep", "null", *FAKES)
_DAYS = {"d": 1, "w": 7, "y": 365}
_STEP = re.compile(r"\[\*\]|[^.\[\]]+")
_PATH = re.compile(r"(?:[^.\[\]]+|\[\*\])(?:\.[^.\[\]]+|\[\*\])*")  # customer.email, items[*].name, *.phone
_INSIDE = ("null", "value", *FAKES)  # kinds of rules for a path of a JSON document

Path = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A rule for a column's values."""

    kind: str  # "keep", "null", "value", "call", "shift", "json" or one of FAKES
    value: Any = None  # for "value", as the project wrote it
    call: Callable[[str | None], Any] | None = None
    group: str = ""  # of a fake: columns of one group have the same fake for equal values
    days: int = 0  # of a shift, at most
    by: str = ""  # of a shift: the column of the same row that it depends on; empty: the value itself
    paths: Mapping[Path, Rule] = field(default_factory=dict)  # of "json"

    def described(self) -> list[Any]:
        """Return what tells this rule from others, for a digest; a function by its code elsewhere."""
        paths = [[list(path), rule.described()] for path, rule in sorted(self.paths.items())]
        return [self.kind, repr(self.value), self.group, self.days, self.by, paths]


def read(column: str, rule: Any) -> Rule:
    """Parse the rule of an entry "table.column". Raise Misconfigured."""
    return _read(f'STAGE_COPY["mask"]["{column}"]', rule)


def _read(where: str, rule: Any) -> Rule:
    if isinstance(rule, str) and rule in _WORDS:
        return Rule(rule)
    if callable(rule):
        return Rule("call", call=rule)
    found = Rule("null") if rule is None else _of_mapping(where, rule) if isinstance(rule, Mapping) else None
    if found is None:
        raise Misconfigured(
            f"{where} is not a rule: it may be "
            + ", ".join(f'"{name}"' for name in _WORDS)
            + ', {"value": ...}, {"call": "module.function"}, {"fake": "email", "group": "name"}, '
            '{"shift": "30d"} or {"json": {"path": rule}}'
        )
    return found


def _of_mapping(where: str, rule: Mapping[Any, Any]) -> Rule | None:
    keys = {str(key) for key in rule}
    if keys == {"value"}:
        return Rule("null") if rule["value"] is None else Rule("value", rule["value"])
    if keys == {"call"}:
        return Rule("call", call=project_code.function(str(rule["call"]), where))
    if keys in ({"fake"}, {"fake", "group"}) and rule["fake"] in FAKES:
        return Rule(rule["fake"], group=str(rule.get("group", "")))
    if keys in ({"shift"}, {"shift", "by"}):
        return _shift(where, str(rule["shift"]), str(rule.get("by", "")))
    return _json(where, rule["json"]) if keys == {"json"} else None


def _shift(where: str, span: str, by: str) -> Rule:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([dwy])", span)
    if not found:
        raise Misconfigured(f'{where}: write a number of days, weeks or years: {{"shift": "30d"}}')
    return Rule("shift", days=int(found[1]) * _DAYS[found[2]], by=by)


def _json(where: str, paths: Any) -> Rule:
    if not isinstance(paths, Mapping) or not paths:
        raise Misconfigured(
            f'{where}: write {{"json": {{"customer.email": "email", "items[*].name": "name"}}}}'
        )
    read_paths: dict[Path, Rule] = {}
    for path, rule in paths.items():
        steps = tuple(_STEP.findall(str(path)))
        if not _PATH.fullmatch(str(path)):
            raise Misconfigured(
                f'{where}: {str(path)!r} is no path: write "customer.email" or "items[*].name"'
            )
        read_paths[steps] = _read(f'{where}["json"]["{path}"]', rule)
        if read_paths[steps].kind not in _INSIDE:
            raise Misconfigured(
                f'{where}["json"]["{path}"]: within JSON a rule may be '
                + ", ".join(f'"{name}"' for name in ("null", *FAKES))
                + ' or {"value": ...}'
            )
    return Rule("json", paths=read_paths)


def as_json(value: Any) -> str:
    """Return a value of the settings as JSON; dates and the like become text."""
    return json.dumps(value, default=str)
