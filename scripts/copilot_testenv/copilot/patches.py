"""Maintain the override patches that raise the Lambda runtimes in Copilot's templates (`check --fix`).

Copilot applies one list of patches to the templates of all environments, and a path that does not exist fails
the deploy. So the list must name exactly the functions that every template has.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from copilot_testenv.copilot import manifest, runtimes
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import files, scratch
from copilot_testenv.core.errors import Failed, Refused, SettingsError

if TYPE_CHECKING:
    from copilot_testenv.rendering import Renderer


FILE = Path("overrides/cfn.patches.yml")  # Source: Copilot's documentation, "YAML patch overrides"
ENVIRONMENTS = "environments"
_PATH = re.compile(r"/Resources/([A-Za-z0-9]+)/Properties/Runtime")
_HEAD = (
    "# Copilot names Lambda runtimes that AWS no longer supports. One patch for exactly each function of\n"
    "# the rendered template: a path that is not there fails the deploy. `invoke check --fix` keeps them.\n"
)


@dataclass(frozen=True)
class Patch:
    """A patch in a list, with its lines in the text (from 0, the end excluded)."""

    operation: str
    path: str
    value: object
    begin: int
    end: int

    @property
    def function(self) -> str:
        """The function whose runtime the patch sets; empty for any other patch."""
        match = _PATH.fullmatch(self.path)
        return match[1] if match and self.operation in {"add", "replace"} else ""


@dataclass(frozen=True)
class Change:
    """A file of patches, before (empty: it did not exist) and after."""

    path: Path
    before: str
    after: str


def text_below(root: Path, owner: str) -> str:
    """Return the text of a service's patches; empty where it has none that can be read."""
    where = f"copilot/{owner}/{FILE.as_posix()}"
    try:
        return text_of(root / where, where)
    except SettingsError:
        return ""


def read(text: str, where: str) -> list[Patch]:
    """Return the patches of a file. Raises SettingsError where it is not a list of mappings."""
    try:
        for _ in manifest.events(text):  # rejects hostile YAML
            pass
        root = yaml.compose(text, Loader=manifest.LOADER)
        data = yaml.load(text, Loader=manifest.LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{where} cannot be read: {' '.join(str(error).split())}.") from error
    if root is None:
        return []
    if not isinstance(root, yaml.SequenceNode) or not all(isinstance(item, dict) for item in data):
        raise SettingsError(f"{where} is not a list of patches: write `- op: …`, `path: …`, `value: …`.")
    begins = [item.start_mark.line for item in root.value]
    ends = [*begins[1:], text.count("\n") + 1][: len(begins)]
    return [
        Patch(str(item.get("op")), str(item.get("path")), item.get("value"), begin, end)
        for item, begin, end in zip(data, begins, ends, strict=True)
    ]


def changes(
    root: Path, folders: Sequence[str], names: Sequence[str], renderer: Renderer, today: date
) -> Iterator[Change]:
    """Yield the necessary change for each folder: a service's folder, or `environments`.

    Functions that not every environment has stay as they are. Raises SettingsError where a file cannot be
    read, or Copilot renders no template even without the runtime patches; Refused where these tasks must not
    write a file; Failed where the workspace cannot be copied.
    """
    for folder in folders:
        _must_be_ours(root / "copilot" / folder / FILE, root)
    with _without_runtime_patches(root, folders) as workspace:
        for folder in folders:
            file = root / "copilot" / folder / FILE
            wanted = _outdated(_rendered(folder, names, renderer, workspace), today)
            shown = file.relative_to(root).as_posix()
            before = text_of(file, shown) if file.exists() else ""
            after = edited(before, wanted, shown, today)
            if after != before:
                yield Change(file, before, after)


def write(change: Change, root: Path) -> None:
    """Write the changed file in one step. Raises Refused where it was changed meanwhile, Failed."""
    files.write(change.path, change.after, root, expected=change.before)


def _read_again(text: str, where: str) -> list[Patch]:
    """Return the patches in an edited text; an empty list where it cannot be read."""
    try:
        return read(text, where)
    except SettingsError:
        return []


def text_of(file: Path, where: str) -> str:
    """Return the file's text with its own line ends. Raises SettingsError where it cannot be read."""
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where} cannot be read: {error}.") from error


def edited(text: str, functions: Sequence[str], where: str, today: date) -> str:
    """Return the text in which exactly these functions have a runtime patch; other patches do not change.

    Raises SettingsError where the file cannot be read, Refused where its form cannot be edited safely.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += line_end
    already_patched: set[str] = set()
    found = read(text, where)
    for patch in reversed(found):
        if patch.function and (patch.function not in functions or patch.function in already_patched):
            del lines[patch.begin : _own_end(lines, patch)]
        elif patch.function:
            already_patched.add(patch.function)
            if not _is_supported(patch.value, today):
                _set_value(lines, patch)
    new = [name for name in functions if name not in already_patched]
    if text and not found and new:  # a file of comments only, or an empty list
        lines = [line for line in lines if line.strip() != "[]"]
    head = [_HEAD] if new and not any(line.strip() for line in lines) else []
    added = "".join([*head, *(_patch(name) for name in new)]).replace("\n", line_end)
    after = added + "".join(lines) if head else "".join(lines) + added
    other_patches = [(patch.operation, patch.path, patch.value) for patch in found if not patch.function]
    patches_after = _read_again(after, where)
    if (
        other_patches
        != [(patch.operation, patch.path, patch.value) for patch in patches_after if not patch.function]
        or sorted(patch.function for patch in patches_after if patch.function) != sorted(functions)
        or not all(_is_supported(patch.value, today) for patch in patches_after if patch.function)
    ):
        raise Refused(
            f"{where} is written in a form that cannot be edited safely: write one patch to a line block "
            f"(`- op: replace`), then run it again. It needs {', '.join(functions) or 'no runtime patch'}."
        )
    return after


def _is_supported(value: object, today: date) -> bool:
    return isinstance(value, str) and not runtimes.why_outdated(value, today)


def _own_end(lines: list[str], patch: Patch) -> int:
    """Return the line at which the patch ends. Comments above the next patch belong to the next patch."""
    end = patch.end
    while end > patch.begin + 1 and (not lines[end - 1 : end] or _is_comment(lines[end - 1])):
        end -= 1
    return end


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _set_value(lines: list[str], patch: Patch) -> None:
    for number in range(patch.begin, min(patch.end, len(lines))):
        lines[number] = re.sub(
            rf"(\bvalue:\s*)(['\"]?){re.escape(str(patch.value))}\2",
            rf"\g<1>\g<2>{runtimes.target()}\g<2>",
            lines[number],
        )


def _patch(function: str) -> str:
    return f"- op: replace\n  path: /Resources/{function}/Properties/Runtime\n  value: {runtimes.target()}\n"


def _rendered(folder: str, names: Sequence[str], renderer: Renderer, workspace: Path) -> dict[str, Template]:
    render: Callable[[str], Template | Refusal] = (
        (lambda name: renderer.environment(workspace, name))
        if folder == ENVIRONMENTS
        else (lambda name: renderer.service(workspace, folder, name))
    )
    found = {}
    for name in names:
        template = render(name)
        if isinstance(template, Refusal):
            raise SettingsError(
                f"copilot/{folder} cannot be fixed, as Copilot renders nothing for {name}: {template.why}."
            )
        found[name] = template
    return found


def _outdated(templates: dict[str, Template], today: date) -> list[str]:
    """Return the functions to patch, in the templates' order: those that every environment has."""
    of_each = [
        {
            function
            for function, runtime in runtimes.functions(template.body).items()
            if runtimes.why_outdated(runtime, today)
        }
        for template in templates.values()
    ]
    first = next(iter(templates.values()), None)
    in_order = runtimes.functions(first.body) if first else {}
    return [function for function in in_order if all(function in found for found in of_each)]


@contextmanager
def _without_runtime_patches(root: Path, folders: Sequence[str]) -> Iterator[Path]:
    """Yield a copy of the workspace without its runtime patches. Raises Failed.

    Links are replaced by the files that they lead to, because the copy is changed and the user's files are
    not.
    """
    with scratch.temporary("patches-") as workspace:
        try:
            shutil.copytree(root / "copilot", workspace / "copilot", ignore_dangling_symlinks=True)
        except OSError as error:  # shutil.Error too
            raise Failed(
                f"The workspace could not be copied to render it without its runtime patches: {error}."
            ) from error
        for folder in folders:
            file = workspace / "copilot" / folder / FILE
            if file.parent.is_dir() and not any(file.parent.iterdir()):
                file.parent.rmdir()  # Copilot reads an empty folder as a broken override
            if file.is_file():
                shown = file.relative_to(workspace).as_posix()
                text = text_of(file, shown)
                both = zip(read(text, shown), yaml.safe_load(text) or [], strict=True)
                others = [item for patch, item in both if not patch.function]
                file.write_text(yaml.safe_dump(others), encoding="utf-8")
        yield workspace


def _must_be_ours(file: Path, root: Path) -> None:
    """Raise Refused where the file's path has a link, or its folder holds a CDK override."""
    files.own(file, root)
    folder = file.parent
    if (folder / "cdk.json").exists() or (folder / "package.json").exists():
        raise Refused(
            f"{folder.relative_to(root)} holds a CDK override, and Copilot takes either that or a list of "
            f"patches: set each function's Runtime to {runtimes.target()} in the override."
        )
