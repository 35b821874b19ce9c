"""A planted password, and all that can be shown of an error that must not show it."""

from __future__ import annotations

import io
import logging
import traceback

SECRET = "Xq7wZk9vJp4Y"
URL = f"postgres://shop:{SECRET}@db.example/shop"


def pieces(secret: str, length: int = 4) -> set[str]:
    return {secret[start : start + length] for start in range(len(secret) - length + 1)}


def assert_hidden(text: str, secret: str = SECRET) -> None:
    found = [piece for piece in pieces(secret) if piece.casefold() in text.casefold()]
    assert not found, (found, text)


def everything(error: BaseException) -> str:
    """All that can be shown of an error: what hangs on it, and the variables of all frames but the test's."""
    frames = error.__traceback__
    while frames and ("/tests/" in (name := frames.tb_frame.f_code.co_filename) or "runpy" in name):
        frames = frames.tb_next
    shown = [str(error), repr(error), repr(error.args), *map(str, getattr(error, "__notes__", ()))]
    told = traceback.TracebackException(type(error), error, frames, capture_locals=True)
    shown += told.format(chain=True)
    for other in (error.__cause__, error.__context__):
        shown += [everything(other)] if other else []
    log = io.StringIO()
    logger, handler = logging.getLogger("of the test"), logging.StreamHandler(log)
    logger.addHandler(handler)
    logger.error("%s %r", error, error)
    logger.removeHandler(handler)
    return "\n".join([*shown, log.getvalue()])
