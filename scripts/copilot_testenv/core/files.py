"""Write files of the repository: completely or not at all, and never through a symbolic link."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from copilot_testenv.core.errors import Failed, Refused

_NEW = 0o644  # without the bits of the umask
_NOTES = ".sandbox"


def own(file: Path, root: Path) -> Path:
    """Return the file if no part of its path below the root is a link; the file need not exist.

    Raises Refused where a part is a link or `..`: it may lead to a file that these tasks must not write.
    """
    parts = file.relative_to(root).parts
    for number in range(1, len(parts) + 1):
        part = Path(*parts[:number])
        if (root / part).is_symlink() or part.name == "..":
            raise Refused(
                f"{part.as_posix()} leads elsewhere, and nothing is written through links: "
                "replace it by the file or folder itself."
            )
    return file


def write(file: Path, content: str | bytes, root: Path, expected: bytes | str | None = None) -> None:
    """Replace the file's content in one step. Create its folders, and keep its mode.

    `expected` is the content that the file must still have ("" also means that it does not exist). Line
    breaks are written unchanged. Raises Refused where the content differs, the path is not a regular file or
    has a link below the root, Failed where the file cannot be written.
    """
    shown = own(file, root).relative_to(root).as_posix()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():
            raise Refused(f"{shown} is not a file: move it away, then run this again.")
        mode = file.stat().st_mode & 0o777 if file.exists() else _NEW & ~_umask()
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(_bytes(content))
            draft.chmod(mode)
            if expected is not None and _content(file) != _bytes(expected):
                raise Refused(f"{shown} was changed meanwhile, so it was left alone: run this again.")
            draft.replace(own(file, root))
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"{shown} could not be written: {error.strerror or error}.") from error


def remove(file: Path, root: Path, expected: bytes) -> None:
    """Delete a file, and the folders below the root that become empty.

    Raises Refused where its content is not `expected` or its path has a link, Failed where it cannot be
    deleted.
    """
    shown = own(file, root).relative_to(root).as_posix()
    try:
        if _content(file) != expected:
            raise Refused(f"{shown} was changed meanwhile, so it was left alone: run this again.")
        file.unlink()
        for folder in file.parents:
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()
    except OSError as error:
        raise Failed(f"{shown} could not be deleted: {error.strerror or error}.") from error


def note(name: str, text: str, root: Path) -> None:
    """Keep a text for later runs in `.sandbox/`, a folder that Git ignores and only this user can read.

    Raises Refused where the path has a link, Failed where the file cannot be written.
    """
    folder = own(root / _NOTES, root)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failed(f"{_NOTES} could not be created: {error.strerror or error}.") from error
    write(folder / ".gitignore", "*\n", root)
    write(folder / name, text, root)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""


def _umask() -> int:
    """Return the process's umask. It can only be read by setting it, so it is the strictest for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
