"""Divides a list into pages, with tokens that lead from one page to the next."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


class InvalidToken(Exception):
    """The token was not issued by `page`."""


def page(
    items: Iterable[_T],
    key: Callable[[_T], str],
    *,
    limit: int,
    token: str | None,
    backwards: bool = False,
) -> tuple[list[_T], str | None]:
    """Return at most `limit` items after the token, sorted by `key` (never empty), and the next token.

    A token contains the last key shown, so an item deleted between two pages hides no other one. Raises
    InvalidToken.
    """
    ordered = sorted(items, key=key, reverse=backwards)
    if token:
        last = _decode(token)
        ordered = [item for item in ordered if (key(item) < last if backwards else key(item) > last)]
    shown = ordered[:limit]
    return shown, _encode(key(shown[-1])) if len(ordered) > limit else None


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidToken(token) from error
