"""Writes a file of the repository: whole or not at all, and never through a link."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from copilot_testenv.core.errors import Failed, Refused

_NEW = 0o644  # less what the umask takes
_NOTES = ".sandbox"


def own(file: Path, root: Path) -> Path:
    """Return the file, which need not be there, if no link stands on the way to it below the root.

    Raises Refused where one does, or the way leads up again (`..`): what is there is not ours to write.
    """
    way = file.relative_to(root).parts
    for number in range(1, len(way) + 1):
        part = Path(*way[:number])
        if (root / part).is_symlink() or part.name == "..":
            raise Refused(
                f"{part.as_posix()} leads elsewhere, and nothing is written through links: "
                "put the file or folder itself there."
            )
    return file


def write(file: Path, content: str | bytes, root: Path, expected: bytes | str | None = None) -> None:
    """Put the content in the file's place in one step; its folders are made, its mode is kept.

    `expected` is what the file must still hold ("" fits one that is not there). Line breaks are written as
    they stand. Raises Refused where the file holds something else or is none, or a link is on the way below
    the root, Failed where it cannot be written.
    """
    shown = own(file, root).relative_to(root).as_posix()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():
            raise Refused(f"{shown} is no file: move it away, then run this again.")
        mode = file.stat().st_mode & 0o777 if file.exists() else _NEW & ~_umask()
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(_bytes(content))
            draft.chmod(mode)
            if expected is not None and _held(file) != _bytes(expected):
                raise Refused(f"{shown} was changed meanwhile, so it was left alone: run this again.")
            draft.replace(own(file, root))
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"{shown} could not be written: {error.strerror or error}.") from error


def remove(file: Path, root: Path, expected: bytes) -> None:
    """Delete a file, and the folders that it leaves empty below the root.

    Raises Refused where it holds something else than `expected`, or a link is on the way; Failed where it
    cannot be deleted.
    """
    shown = own(file, root).relative_to(root).as_posix()
    try:
        if _held(file) != expected:
            raise Refused(f"{shown} was changed meanwhile, so it was left alone: run this again.")
        file.unlink()
        for folder in file.parents:
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()
    except OSError as error:
        raise Failed(f"{shown} could not be deleted: {error.strerror or error}.") from error


def note(name: str, text: str, root: Path) -> None:
    """Keep a text for later runs in `.sandbox/`, which Git ignores and nobody else reads.

    Raises Refused where a link is on the way, Failed where it cannot be written.
    """
    folder = own(root / _NOTES, root)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failed(f"{_NOTES} could not be made: {error.strerror or error}.") from error
    write(folder / ".gitignore", "*\n", root)
    write(folder / name, text, root)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _held(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it: to the strictest for that moment."""
    found = os.umask(0o077)
    os.umask(found)
    return found
