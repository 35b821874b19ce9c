"""Tell which known name somebody may have meant."""

from __future__ import annotations

import difflib

from .problems import Misconfigured


def nearest(name: str, known: object) -> str:
    """Return the most similar known name as the end of a message; empty if there is none."""
    close = difflib.get_close_matches(name, [str(one) for one in known], 1, 0.5)  # type: ignore[attr-defined]
    return f": did you mean {close[0]!r}?" if close else ""


def require_known(name: str, names: tuple[str, ...], where: str) -> None:
    """Raise Misconfigured if it is none of the names."""
    if name not in names:
        raise Misconfigured(
            f"{where} has no {name!r}{nearest(name, names) or ': it has ' + ', '.join(names)}"
        )
