"""Find the manifests of a workspace.

Copilot reads files called `manifest.yml` and no others.
Source: internal/pkg/workspace/workspace.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

from pathlib import Path

NAME = "manifest.yml"
_SIMILAR_NAMES = "manifest.y*ml"  # also manifest.yaml, which Copilot ignores
_ENVIRONMENTS = "environments"


def services(root: Path) -> dict[str, Path]:
    """Return the manifests of the workspace's services and jobs, by name, sorted."""
    files = {file.parent.name: file for file in sorted((root / "copilot").glob(f"*/{NAME}"))}
    files.pop(_ENVIRONMENTS, None)
    return files


def environments(root: Path) -> dict[str, Path]:
    """Return the manifests of the workspace's environments, by name, sorted."""
    files = sorted((root / "copilot" / _ENVIRONMENTS).glob(f"*/{NAME}"))
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
