"""Types for secret texts that do not print their content, so that no message can show it by accident."""

from __future__ import annotations

from typing import Any, NoReturn

MASK = "***"
_SHORT = 6  # letters; an error may quote a wrong setting up to this length: no password is that short


class Secret:
    """A text that only `reveal` returns; printed, formatted and in a traceback's variables it is `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Pass it at once to the code that needs it."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, _: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


class Hidden(str):
    """A secret for code that needs a str, as Django does in DATABASES; its repr is `***`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


def shown(value: Any) -> str:
    """Return a wrong setting in a form that an error may quote: a number or a few letters, else its type."""
    if (
        value is None
        or isinstance(value, (bool, int, float))
        or (isinstance(value, str) and len(value) <= _SHORT)
    ):
        return repr(value)
    return f"a text of {len(value)} letters" if isinstance(value, str) else f"a {type(value).__name__}"
