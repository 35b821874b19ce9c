"""COPY and ADD: puts files of the context, of another stage or of a heredoc into the image."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot_sandbox.images import undone
from copilot_sandbox.images.dockerfile import Instruction, expand
from copilot_sandbox.images.pip_targets import is_of_python
from copilot_sandbox.images.stage_state import State, absolute
from copilot_sandbox.images.tree import CopyError, Entry, Tree, file_of, hash_file, is_system_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What uv does is done without it.
_UV = re.compile(r"(?:^|/)astral-sh/uv(?::|@|$)")
_OF_UV = ("uv", "uvx")


@dataclass(frozen=True)
class Copying:
    """One COPY or ADD step. `tree` is the source of --from, None for an image that is not available here.

    `say` gets a line for each difference from docker.
    """

    step: Instruction
    state: State
    tree: Tree | None
    from_context: bool
    say: Callable[[str], None]

    def run(self) -> None:
        step, state = self.step, self.state
        for flag, _ in step.flags:
            if flag in ("parents", "exclude", "unpack", "checksum", "keep-git-dir"):
                raise step.error(f"--{flag} is not supported in the sandbox: copy without it.")
        words = step.words(state.variables)
        heredocs = {heredoc.name: heredoc for heredoc in step.heredocs}
        if len(words) < 2:  # noqa: PLR2004 - at least a source and a destination
            raise step.error(f"{step.keyword} requires at least two arguments")
        *sources, to = words
        target = absolute(state.workdir, to)
        is_folder = to.endswith(("/", "/.")) or to == "." or is_system_folder(target)
        target = target.rstrip("/") + "/" if is_folder else target
        if len(sources) > 1 and not target.endswith("/"):
            raise step.error("the destination must be a directory and end with a /")
        mode = _mode(step)
        origin = step.flag("from")
        for source in sources:
            heredoc = (
                heredocs.get(source.removeprefix("<<").removeprefix("-")) if source.startswith("<<") else None
            )
            if heredoc is not None:
                text = _substitute(heredoc.text, state.variables, step) if heredoc.expand else heredoc.text
                self._place(file_of(text.encode(), mode or 0o644), heredoc.name, target)
            elif self.tree is None and _UV.search(origin or "") is not None:
                continue
            elif self.tree is None:
                self._miss(source, to, "no image is pulled without an engine")
            elif step.keyword == "ADD" and _is_remote_or_archive(source):
                self._miss(source, to, "ADD downloads and unpacks nothing without an engine")
            else:
                self._copy_one(self.tree, source, target, mode)

    def _miss(self, source: str, to: str, reason: str) -> None:
        self.say(undone.of_copy(self.step, source, to, reason))

    def _copy_one(self, tree: Tree, source: str, target: str, mode: int | None) -> None:
        step = self.step
        outside = f"COPY failed: forbidden path outside the build context: {source} ()"
        if self.from_context and posixpath.normpath(source.lstrip("/") or ".").split("/")[0] == "..":
            raise step.error(outside)
        path = absolute("/", source)
        matches = tree.glob(path) if re.search(r"[*?\[]", path) and tree.get(path) is None else [path]
        for match in matches:
            try:
                place = tree.resolve(match, outside=outside if self.from_context else None)
            except CopyError as error:
                raise step.error(str(error)) from error
            entry = tree.get(place)
            if entry is None and not self.from_context and is_of_python(path):
                continue  # all stages share one environment
            if entry is None and not self.from_context and posixpath.basename(path) in _OF_UV:
                continue
            if entry is None and not self.from_context:
                self._miss(source, target, "no step that is carried out here makes it")
            elif entry is None:
                raise step.error(f'failed to calculate checksum of ref: "{match}": not found')
            elif entry.kind == "folder":
                self._copy_folder(tree, place, target, mode)
            else:
                self._place(self._with_hash(tree, place, entry, mode), posixpath.basename(match), target)

    def _copy_folder(self, tree: Tree, place: str, target: str, mode: int | None) -> None:
        entries = list(tree.below(place))
        folder = self.state.tree.make_folder(target)
        for path, entry in entries:
            self.state.tree.put(
                folder.rstrip("/") + path[len(place.rstrip("/")) :], self._with_hash(tree, path, entry, mode)
            )

    def _with_hash(self, tree: Tree, path: str, entry: Entry, mode: int | None) -> Entry:
        """Return the entry with its content's hash (computed once) and the mode of --chmod."""
        if entry.source is not None and not entry.sha256:
            entry = tree.entries[path] = replace(entry, sha256=hash_file(entry.source))
        if entry.kind == "link" and entry.target.startswith("/") and self.from_context:
            self.say(
                f"sandbox: {path.lstrip('/')} is a link to {entry.target}: it stays one, nothing is copied"
            )
        return replace(entry, mode=mode) if mode is not None and entry.kind == "file" else entry

    def _place(self, entry: Entry, name: str, target: str) -> None:
        """Put one file at `target`, or into `target` if it is a folder."""
        place = self.state.tree.get(self.state.tree.resolve(target))
        inside = target.endswith("/") or (place is not None and place.kind == "folder")
        self.state.tree.put(posixpath.join(target, name) if inside else target, entry)


def _mode(step: Instruction) -> int | None:
    text = step.flag("chmod")
    if text is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise step.error(f"--chmod={text} is not supported in the sandbox: write it as --chmod=755.")
    return int(text, 8)


def _substitute(text: str, variables: Mapping[str, str], step: Instruction) -> str:
    """Substitute variables in a heredoc, in which quotes are plain text."""
    return re.sub(
        r"(?<!\\)\$(?:\w+|\{[^}]*\})", lambda found: expand(found[0], variables, step.escape, step.line), text
    )


def _is_remote_or_archive(source: str) -> bool:
    """Return True for a source that ADD would download or unpack."""
    return bool(
        re.match(r"https?://|git@|ssh://|git://", source)
        or re.search(r"\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2|txz)$", source)
    )
