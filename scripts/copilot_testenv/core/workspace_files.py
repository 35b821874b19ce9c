"""Find the manifests of a workspace.

Copilot reads files called `manifest.yml` and no others.
Source: internal/pkg/workspace/workspace.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

NAME = "manifest.yml"
_SIMILAR_NAMES = "manifest.y*ml"  # also manifest.yaml, which Copilot ignores
_ENVIRONMENTS = "environments"


_DEEPEST = 6  # folders below the current one in which a workspace is looked for
_SKIPPED = frozenset({"node_modules", "site-packages", "venv", "vendor", "__pycache__"})


def nearest(folder: Path) -> list[Path]:
    """Return the workspace that the folder is in; else those below it, or below the repository's top, sorted.

    A folder copilot/ without manifests may be something else.
    """
    for candidate in (folder, *folder.parents):
        if _has_manifests(candidate):
            return [candidate]
    top = next((path for path in (folder, *folder.parents) if (path / ".git").exists()), folder)
    return sorted(_below(folder, _DEEPEST)) or sorted(_below(top, _DEEPEST))


def _has_manifests(folder: Path) -> bool:
    copilot = folder / "copilot"
    return copilot.is_dir() and ((copilot / ".workspace").exists() or bool(similar_files(folder)))


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the workspaces below the folder. Links, hidden folders and other people's code are left out."""
    try:
        children = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return
    for child in children if depth else ():
        if child.name.startswith(".") or child.name in _SKIPPED:
            continue
        if _has_manifests(child):
            yield child
        yield from _below(child, depth - 1)


def services(root: Path) -> dict[str, Path]:
    """Return the manifests of the workspace's services and jobs, by name, sorted."""
    files = {file.parent.name: file for file in sorted((root / "copilot").glob(f"*/{NAME}"))}
    files.pop(_ENVIRONMENTS, None)
    return files


def environments(root: Path) -> dict[str, Path]:
    """Return the manifests of the workspace's environments, by name, sorted."""
    files = sorted((root / "copilot" / _ENVIRONMENTS).glob(f"*/{NAME}"))
    return {file.parent.name: file for file in files}


def longer_names(name: str, others: Iterable[str]) -> list[str]:
    """Return the names that begin with this one and a dash.

    A role gets rights by the names of stacks (docs/iam.md): a right to APP-test-* includes those of test-eu.
    """
    return [other for other in others if other.startswith(f"{name}-")]


def pipelines(root: Path) -> dict[str, Path]:
    """Return the manifests of the workspace's pipelines, by folder, sorted."""
    files = sorted((root / "copilot/pipelines").glob(f"*/{NAME}"))
    return {file.parent.name: file for file in files}


def similar_files(root: Path) -> list[Path]:
    """Return each file that looks like a manifest, also one that Copilot ignores, sorted.

    Guards use it, because it is safer to look at one file too many.
    """
    return [*similar_service_files(root), *_similar_environment_files(root)]


def similar_service_files(root: Path) -> list[Path]:
    """Return the files among `similar_files` that belong to services and jobs."""
    files = sorted((root / "copilot").glob(f"*/{_SIMILAR_NAMES}"))
    return [file for file in files if file.parent.name != _ENVIRONMENTS]


def _similar_environment_files(root: Path) -> list[Path]:
    return sorted((root / "copilot" / _ENVIRONMENTS).glob(f"*/{_SIMILAR_NAMES}"))


def environment_names(root: Path) -> set[str]:
    """Return the environments of `similar_files`, for guards that keep away from other environments."""
    return {file.parent.name for file in _similar_environment_files(root)}
