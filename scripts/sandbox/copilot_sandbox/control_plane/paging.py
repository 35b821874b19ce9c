"""One page of a list, and the token that leads to the next."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


class TokenWrong(Exception):
    """It is no token that `page` gave out."""


def page(
    items: Iterable[_T],
    key: Callable[[_T], str],
    *,
    limit: int,
    token: str | None,
    backwards: bool = False,
) -> tuple[list[_T], str | None]:
    """Sort by `key`, never empty, and return what comes after the token, `limit` items at most, and the next.

    A token says after which key to go on: what is taken away between two pages hides nothing else. Raises
    TokenWrong.
    """
    ordered = sorted(items, key=key, reverse=backwards)
    if token:
        last = _read(token)
        ordered = [item for item in ordered if (key(item) < last if backwards else key(item) > last)]
    shown = ordered[:limit]
    return shown, _write(key(shown[-1])) if len(ordered) > limit else None


def _write(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _read(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise TokenWrong(token) from error
