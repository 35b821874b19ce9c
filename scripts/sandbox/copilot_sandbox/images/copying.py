"""COPY and ADD: what of the context, of another stage or of a heredoc goes where."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot_sandbox.images.dockerfile import Instruction, expand
from copilot_sandbox.images.stage_state import State, absolute
from copilot_sandbox.images.tree import CopyError, Entry, Tree, file_of, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Copying:
    """One COPY or ADD step. `tree` is what --from names, None where that is an image that is not here.

    `say` is told of what is done otherwise than by docker, `not_done` of what is not done at all.
    """

    step: Instruction
    state: State
    tree: Tree | None
    from_context: bool
    say: Callable[[str], None]
    not_done: Callable[[Instruction, str], None]

    def run(self) -> None:
        step, state = self.step, self.state
        for flag, _ in step.flags:
            if flag in ("parents", "exclude", "unpack", "checksum", "keep-git-dir"):
                raise step.error(f"--{flag} is not supported in the sandbox: copy without it.")
        words = step.words(state.variables)
        heredocs = {each.name: each for each in step.heredocs}
        if len(words) < 2:  # noqa: PLR2004 - at least a source and a destination
            raise step.error(f"{step.keyword} requires at least two arguments")
        *sources, to = words
        target = absolute(state.workdir, to) + ("/" if to.endswith(("/", "/.")) or to == "." else "")
        if len(sources) > 1 and not target.endswith("/"):
            raise step.error("the destination must be a directory and end with a /")
        mode = _mode(step)
        given = step.flag("from")
        for source in sources:
            inline = (
                heredocs.get(source.removeprefix("<<").removeprefix("-")) if source.startswith("<<") else None
            )
            if inline is not None:
                text = _fill(inline.text, state.variables, step) if inline.expand else inline.text
                self._place(file_of(text.encode(), mode or 0o644), inline.name, target)
            elif self.tree is None:
                self.not_done(step, f"{step.keyword} --from={given} {source} {to}: that image is not here")
            elif step.keyword == "ADD" and _is_foreign(source):
                self.not_done(step, f"ADD {source} {to}")
            else:
                self._copy_one(self.tree, source, target, mode)

    def _copy_one(self, tree: Tree, source: str, target: str, mode: int | None) -> None:
        step = self.step
        outside = f"COPY failed: forbidden path outside the build context: {source} ()"
        if self.from_context and posixpath.normpath(source.lstrip("/") or ".").split("/")[0] == "..":
            raise step.error(outside)
        path = absolute("/", source)
        found = tree.glob(path) if re.search(r"[*?\[]", path) and tree.get(path) is None else [path]
        for each in found:
            try:
                place = tree.resolve(each, outside=outside if self.from_context else None)
            except CopyError as error:
                raise step.error(str(error)) from error
            entry = tree.get(place)
            if entry is None and not self.from_context:
                self.not_done(step, f"COPY --from={step.flag('from')} {source}: nothing is there")
            elif entry is None:
                raise step.error(f'failed to calculate checksum of ref: "{each}": not found')
            elif entry.kind == "folder":
                self._copy_folder(tree, place, target, mode)
            else:
                self._place(self._known(tree, place, entry, mode), posixpath.basename(each), target)

    def _copy_folder(self, tree: Tree, place: str, target: str, mode: int | None) -> None:
        below = list(tree.below(place))
        to = self.state.tree.make_folder(target)
        for path, entry in below:
            self.state.tree.put(
                to.rstrip("/") + path[len(place.rstrip("/")) :], self._known(tree, path, entry, mode)
            )

    def _known(self, tree: Tree, path: str, entry: Entry, mode: int | None) -> Entry:
        """Return the entry with its content's hash (worked out once) and the mode that --chmod asks for."""
        if entry.source is not None and not entry.sha256:
            entry = tree.entries[path] = replace(entry, sha256=hash_file(entry.source))
        if entry.kind == "link" and entry.target.startswith("/") and self.from_context:
            self.say(
                f"sandbox: {path.lstrip('/')} is a link to {entry.target}: it stays one, nothing is copied"
            )
        return replace(entry, mode=mode) if mode is not None and entry.kind == "file" else entry

    def _place(self, entry: Entry, name: str, target: str) -> None:
        """Put one file at `target`, or into it where that is a folder."""
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


def _fill(text: str, variables: Mapping[str, str], step: Instruction) -> str:
    """Fill variables into a heredoc: quotes are plain text there."""
    return re.sub(
        r"(?<!\\)\$(?:\w+|\{[^}]*\})", lambda found: expand(found[0], variables, step.escape, step.line), text
    )


def _is_foreign(source: str) -> bool:
    """Return True for what ADD would download or unpack."""
    return bool(
        re.match(r"https?://|git@|ssh://|git://", source)
        or re.search(r"\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2|txz)$", source)
    )
