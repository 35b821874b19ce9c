"""Read JSON from untrusted sources: check every type and bound before a value is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from copilot_testenv.core import display

_LONGEST_NUMBER = 20  # digits


class Malformed(Exception):
    """A document is not what these tasks write. The message is the reason; it quotes no content."""


def read(body: bytes, longest: int) -> dict[str, Any]:
    """Return a document that is an object, of at most `longest` bytes. Raises Malformed."""
    value = document(body, longest)
    if not isinstance(value, dict):
        raise Malformed("it is not an object")
    return value


def document(body: bytes, longest: int) -> Any:
    """Return a document of any type, of at most `longest` bytes. Raises Malformed."""
    if len(body) > longest:
        raise Malformed(f"it is longer than {longest // 1024} KiB")
    try:
        text = body.decode()
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_reject, parse_int=_whole, parse_float=_real
        )
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError:
        reason = "it is not JSON"
    raise Malformed(reason)


def version(found: dict[str, Any], known: int) -> None:
    """Remove the object's `version` and check it; an object that an early version wrote has none.

    Raises Malformed, WrittenByNewerVersion.
    """
    number = found.pop("version", known)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise Malformed("its version is not a positive whole number")
    if number > known:
        raise WrittenByNewerVersion


class WrittenByNewerVersion(Malformed):
    """A newer version of these tasks wrote the object."""


def only(found: object, names: Iterable[str], what: str) -> dict[str, Any]:
    """Return the object if it has exactly these fields. Raises Malformed."""
    if not isinstance(found, dict) or found.keys() != set(names):
        raise Malformed(f"{what} has other fields than these tasks write")
    return found


def text(value: object, what: str, longest: int) -> str:
    """Return a string that is safe to show. Raises Malformed."""
    if not isinstance(value, str) or len(value) > longest:
        raise Malformed(f"{what} is not a text of at most {longest} letters")
    return display.line(value, 6 * longest)


def number(value: object, what: str) -> float:
    """Return a finite number. Raises Malformed."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise Malformed(f"{what} is not a finite number")
    return float(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("it has a field twice")
    return fields


def _reject(_: str) -> NoReturn:
    raise Malformed("it contains NaN or Infinity")


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise Malformed("it has a number that is too large")
    return int(digits)


def _real(digits: str) -> float:
    return number(float(digits), "a number in it")
