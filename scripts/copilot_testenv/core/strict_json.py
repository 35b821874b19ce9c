"""JSON that others may have written: every type and bound is checked before anything is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from copilot_testenv.core import display

_LONGEST_NUMBER = 20  # digits


class Malformed(Exception):
    """Why an object is not what these tasks write: some words, and nothing of its content."""


def read(body: bytes, longest: int) -> dict[str, Any]:
    """Return the object of a document of `longest` bytes at most. Raises Malformed."""
    found = document(body, longest)
    if not isinstance(found, dict):
        raise Malformed("it is no object")
    return found


def document(body: bytes, longest: int) -> Any:
    """Return a document of `longest` bytes at most, whatever it is. Raises Malformed."""
    if len(body) > longest:
        raise Malformed(f"it is longer than {longest // 1024} KiB")
    try:
        text = body.decode()
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_int=_whole, parse_float=_real
        )
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError:
        reason = "it is not JSON"
    raise Malformed(reason)


def version(found: dict[str, Any], known: int) -> None:
    """Take the object's `version` out. One of before there were versions has none. Raises Malformed."""
    number = found.pop("version", known)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise Malformed("its version is no number")
    if number > known:
        raise Later


class Later(Malformed):
    """A later version of these tasks wrote the object."""


def only(found: object, names: Iterable[str], what: str) -> dict[str, Any]:
    """Return the object if it has these fields and no others. Raises Malformed."""
    if not isinstance(found, dict) or found.keys() != set(names):
        raise Malformed(f"{what} has other fields than these tasks write")
    return found


def text(value: object, what: str, longest: int) -> str:
    """Return a string, as it may be shown. Raises Malformed."""
    if not isinstance(value, str) or len(value) > longest:
        raise Malformed(f"{what} is no text of at most {longest} letters")
    return display.line(value, 6 * longest)


def number(value: object, what: str) -> float:
    """Return a number that is one of JSON's, and finite. Raises Malformed."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise Malformed(f"{what} is no number")
    return float(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("it has a field twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise Malformed("it has a number that is none")


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise Malformed("it has a number that is too large")
    return int(digits)


def _real(digits: str) -> float:
    return number(float(digits), "a number of it")
