"""Write files into a folder that may hold others; other people's files need a confirmation first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from copilot_testenv.core.errors import Refused

CONTENTS = "contents.json"  # the written files, each with its digest
State = Literal["new", "changed", "unchanged", "foreign"]


@dataclass(frozen=True)
class Folder:
    """A folder to write to. Links in it, and in the repository `root`, are not followed."""

    path: Path
    root: Path

    def states(self, files: Mapping[str, bytes]) -> dict[str, State]:
        """Return the state of each file before it is written; "foreign": somebody else wrote or edited it.

        Raises Refused if a link or a folder is in the place of a file.
        """
        known = self._known()
        return {name: self._state(name, body, known.get(name, "")) for name, body in files.items()}

    def _state(self, name: str, body: bytes, known: str) -> State:
        file = self.path / name
        self._refuse_links(file)
        if not file.exists():
            return "new"
        if not file.is_file():
            raise Refused(f"{file} is not a file: move it away, or choose another folder with --output.")
        current = file.read_bytes()
        if current == body:
            return "unchanged"
        return "changed" if _digest(current) == known else "foreign"

    def _refuse_links(self, file: Path) -> None:
        """Raise Refused if a part of the path, below the repository or the folder, is a link."""
        top = self.root if self.path.is_relative_to(self.root) else self.path
        for part in (file, *file.parents):
            if part == top:
                return
            if part.is_symlink():
                raise Refused(f"{part} is a link, which is not followed: write elsewhere with --output.")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write all files, each in one step, and record their digests in contents.json."""
        known = {**self._known(), **{name: _digest(body) for name, body in files.items()}}
        text = json.dumps(dict(sorted(known.items())), indent=2) + "\n"
        self._refuse_links(self.path / CONTENTS)
        for name, body in {**files, CONTENTS: text.encode()}.items():
            file = self.path / name
            if file.is_file() and file.read_bytes() == body:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_name(f".{file.name}.draft")
            draft.unlink(missing_ok=True)  # a link there would be followed
            draft.write_bytes(body)
            draft.replace(file)

    def _known(self) -> dict[str, str]:
        try:
            found = json.loads((self.path / CONTENTS).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}  # every file counts as foreign then
        return found if isinstance(found, dict) else {}


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
