"""The image's files, as the simple commands of a RUN step see and change them."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

from copilot_sandbox.images.tree import CopyError, Entry, Tree, file_of, hash_file, is_system_folder

_MODE = re.compile(r"[ugoa]*[+=][rwxX]+(,[ugoa]*[+=][rwxX]+)*|0?[0-7]{3}")
_OF_CHMOD = frozenset({"-R", "-f", "-v"})
_WITHOUT_CR = re.compile(r"s/\\r\$?//g?")  # as scripts that were edited on Windows need it


@dataclass(frozen=True)
class StepFiles:
    """Files by paths that may be relative to `folder`. The first tree is read; all are changed."""

    folder: str
    trees: tuple[Tree, ...]

    def change(  # noqa: PLR0911 - a case for each program
        self, program: str, words: list[str]
    ) -> bool:
        """Do a command on the image's files as far as it is simple. Return False if it is not done."""
        options = [word for word in words if re.fullmatch(r"-\w+|--parents", word)]
        paths = [word for word in words if word not in options]
        try:
            match program, paths:
                case "mkdir", [*folders] if set(options) <= {"-p", "--parents"}:
                    for tree in self.trees:
                        for folder in folders:
                            tree.make_folder(posixpath.join(self.folder, folder))
                    return True
                case "touch", [path]:
                    if self.entry(path) is None:
                        self.put(path, file_of(b""))
                    return True
                case (("cp" | "mv"), [path, target]) if entry := self.entry(path):
                    self.put(target, entry, name=posixpath.basename(path))
                    return True
                case "chmod", [mode, *files] if _MODE.fullmatch(mode) and set(options) <= _OF_CHMOD:
                    return all(self._set_mode(path, mode, deep="-R" in options) for path in files)
                case "sed", [script, *files] if options == ["-i"] and _WITHOUT_CR.fullmatch(script):
                    return all(self._without_carriage_returns(path) for path in files)
        except CopyError:
            return False
        return False

    def _set_mode(self, path: str, mode: str, *, deep: bool) -> bool:
        """Set the mode of a file, or with `deep` of all files of a folder; False if there is none."""
        place = self.trees[0].resolve(posixpath.join(self.folder, path))
        entry = self.trees[0].get(place)
        if entry is not None and entry.kind == "folder":
            below = self.trees[0].below(place) if deep else ()
            paths = [inner for inner, each in below if each.kind == "file"]
        else:
            paths = [place]
        for each in paths:
            file = self.entry(each)
            if file is None:
                return False
            number = int(mode, 8) if mode.isdecimal() else file.mode | (0o111 if "x" in mode else 0)
            self.put(each, replace(file, mode=number))
        return True

    def _without_carriage_returns(self, path: str) -> bool:
        file, text = self.entry(path), self.text(path)
        if file is None or text is None:
            return False
        self.put(path, file_of(text.replace("\r\n", "\n").encode(), file.mode))
        return True

    def exists(self, path: str, kind: str) -> bool | None:
        """Decide `test -e`, `-f` and the like. Return None for a file that only a base image could have."""
        try:
            place = self.trees[0].resolve(posixpath.join(self.folder, path))
        except CopyError:
            return None
        entry = self.trees[0].get(place)
        if entry is None or place == "/":
            # A base image's own files are not here.
            return None if is_system_folder(posixpath.dirname(place)) or place.startswith("/usr/") else False
        return (entry.kind == "folder") == (kind == "-d") or kind in ("-e", "-r")

    def text(self, path: str) -> str | None:
        """Return a file's text; None if it is not in the image, or no text."""
        try:
            entry = self.entry(path)
            return None if entry is None else entry.text()
        except (UnicodeDecodeError, OSError):
            return None

    def entry(self, path: str) -> Entry | None:
        """Return a file of the image; None if there is none."""
        try:
            entry = self.trees[0].get(self.trees[0].resolve(posixpath.join(self.folder, path)))
        except CopyError:
            return None
        if entry is None or entry.kind != "file":
            return None
        if entry.source is not None and not entry.sha256:
            return replace(entry, sha256=hash_file(entry.source))
        return entry

    def put(self, path: str, file: Entry, *, name: str = "") -> None:
        """Put a file into the image. `path` may be a folder if `name` is given. Raises CopyError."""
        place = posixpath.normpath(posixpath.join("/", self.folder, path))
        for tree in self.trees:
            entry = tree.get(place)
            inside = (
                posixpath.join(place, name)
                if name and entry is not None and entry.kind == "folder"
                else place
            )
            tree.put(inside, file)
