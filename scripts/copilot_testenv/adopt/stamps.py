"""Mark the files and blocks that `adopt` writes with a stamp, to tell them from the owner's lines.

    # copilot-testenv 0.2.0 1a2b3c4d5e6f: by `invoke adopt`, renewed if unedited
    …
    # end of copilot-testenv

The digest is that of the lines between. If it still fits, nobody has edited the block, and a later `adopt`
renews it. A file that `adopt` writes as a whole begins with the stamp and has no last line.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import copilot_testenv

_NAME = "copilot-testenv"
_END = f"# end of {_NAME}"
_BEGIN = re.compile(
    rf"^(?P<indent>[ \t]*)# {_NAME} (?P<version>\S+) (?P<digest>[0-9a-f]{{12}}): .*\n", re.MULTILINE
)
_WHAT = "by `invoke adopt`, renewed if unedited"  # flake8 accepts 79 letters in the line


@dataclass(frozen=True)
class Block:
    """A stamped block of a text with Unix line ends: `text[start:end]`, with both stamps."""

    start: int
    end: int
    version: str
    digest: str
    body: str
    indent: str
    is_whole: bool
    is_open: bool  # its last line is missing, so nobody can tell where it ends

    @property
    def is_edited(self) -> bool:
        """Return True if somebody has changed the lines since `adopt` wrote them."""
        return digest(self.body) != self.digest

    def replaced(self, text: str, body: str) -> str:
        """Return the text with another body in this block. The text may have line ends of any kind."""
        new = whole(body) if self.is_whole else block(body, self.indent)
        return spliced(text, self.start, self.end, new)


def whole(body: str) -> str:
    """Return the text of a file that `adopt` writes as a whole."""
    return f"{_begin(body)}\n{body}"


def block(body: str, indent: str = "") -> str:
    """Return the lines between two stamps with this indent."""
    return f"{indent}{_begin(body)}\n{body}{indent}{_END}\n"


def find(text: str) -> Block | None:
    """Return the first stamped block of a text; None if there is none."""
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    end = re.compile(rf"^{begin['indent']}{re.escape(_END)}(\n|\Z)", re.MULTILINE).search(text, begin.end())
    body_end, block_end = (end.start(), end.end()) if end else (len(text), len(text))
    return Block(
        begin.start(),
        block_end,
        begin["version"],
        begin["digest"],
        text[begin.end() : body_end],
        begin["indent"],
        is_whole=end is None and begin.start() == 0,
        is_open=end is None and begin.start() > 0,
    )


def appended(text: str, body: str, *, empty_lines: int) -> str:
    """Return a text with a stamped block at its end, after `empty_lines` empty lines."""
    plain = text.replace("\r\n", "\n")
    gap = "" if plain.endswith("\n") or not plain else "\n"
    return spliced(text, len(plain), len(plain), gap + "\n" * empty_lines + block(body))


def spliced(text: str, start: int, end: int, new: str) -> str:
    """Return the text with new lines instead of those from `start` to `end`; every other byte stays.

    `start` and `end` count in the text with Unix line ends. The new lines get the text's own line ends.
    """
    first, last = (_place(text, each) for each in (start, end))
    return text[:first] + (new.replace("\n", "\r\n") if "\r\n" in text else new) + text[last:]


def _place(text: str, plain: int) -> int:
    """Return the position in `text` of position `plain` in the same text with Unix line ends."""
    passed = 0
    for found in re.finditer("\r\n", text):
        if found.start() - passed >= plain:
            break
        passed += 1
    return plain + passed


def digest(body: str) -> str:
    """Return the digest of these lines for a stamp."""
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _begin(body: str) -> str:
    return f"# {_NAME} {copilot_testenv.__version__} {digest(body)}: {_WHAT}"
