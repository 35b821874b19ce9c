"""Finds the scripts that a container's command starts, and moves the image's paths in their text.

A container without an engine has its files in a folder of its own. The paths in its command are translated to
that folder, so those in a script of the image have to be too: `exec gunicorn --chdir /app`. The image is a
branch's: only files of its own folder are read.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from copilot_sandbox.model import Image

_WORD = re.compile(r"[^\s;&|()<>\"'`=]+")
_SHELL = re.compile(r"#!\s*\S*(?:/env\s+)?\S*\b(?:ba|da|a|k|z)?sh\b")
_CONFIGURATION = (".cfg", ".conf", ".ini")  # of uwsgi and supervisord, for example
_MOST_FILES, _MOST_BYTES = 20, 1 << 16


def moved_texts(words: Sequence[str], image: Image, move: Callable[[str], str]) -> dict[str, str]:
    """Return the new text of each file whose paths change, by its path in the image."""
    found = {path: (text, move(text)) for path, text in _named(words, image).items()}
    return {path: moved for path, (text, moved) in found.items() if moved != text}


def scripts(words: Sequence[str], image: Image) -> list[str]:
    """Return the texts of the shell scripts that a command starts."""
    return [text for path, text in _named(words, image).items() if _is_script(path, text)]


def _is_script(path: str, text: str) -> bool:
    return path.endswith(".sh") or _SHELL.match(text) is not None


def _named(words: Sequence[str], image: Image) -> dict[str, str]:
    """Return the scripts and configuration files that `words` name, or that these scripts name in turn."""
    texts: dict[str, str] = {}
    todo = [match[0] for word in words for match in _WORD.finditer(word)]
    while todo and len(texts) < _MOST_FILES:
        path, text = _read(todo.pop(0), image)
        if not path or path in texts:
            continue
        if _is_script(path, text):
            todo += [match[0] for match in _WORD.finditer(text)]
        elif not path.endswith(_CONFIGURATION):
            continue
        texts[path] = text
    return texts


def _read(word: str, image: Image) -> tuple[str, str]:
    """Return the path in the image and the text of the file that a word names; empty if it names none."""
    folders = [image.workdir or "/", *image.env.get("PATH", "").split(":")]
    root = image.root.resolve()
    for folder in folders[: 1 if "/" in word else None]:
        path = posixpath.normpath(posixpath.join("/", folder, word))
        file = root / path.lstrip("/")
        try:
            # A link may lead out of the image, or to a file that other containers have too.
            if file.resolve() == file and file.is_file() and file.stat().st_size < _MOST_BYTES:
                return path, file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError):
            continue
    return "", ""
