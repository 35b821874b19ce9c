"""Take Fargate Spot out of a service's manifest in a worktree, for a deploy for which Spot has no room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from copilot_testenv.copilot.manifest import inside
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Failed, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from copilot_testenv.core.settings import Settings

SPOT_FIRST = "spot-first"  # of the setting TEST_CAPACITY


def without_spot(folder: Path, settings: Settings) -> bool:
    """Write the manifest so that the test environment's tasks run on demand; return False without Spot in it.

    The number of tasks stays. `folder` is a worktree: nothing of it is kept. Raises SettingsError, Failed.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - only this rare deploy needs it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    file = inside(folder / "copilot" / settings.service / workspace_files.NAME, folder)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    try:
        content = yaml.load(file.read_text(encoding="utf-8"))
        block = content["environments"][settings.test_env]
        count = on_demand(block["count"] if "count" in block else content.get("count"))
        if count is None:
            return False
        block["count"] = count
        with file.open("w", encoding="utf-8") as opened:
            yaml.dump(content, opened)
    except (YAMLError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise SettingsError(f"{file.relative_to(folder)} cannot be read: {type(error).__name__}.") from error
    except OSError as error:
        raise Failed(f"{file.relative_to(folder)} could not be written in the worktree: {error}.") from error
    return True


def on_demand(count: Any) -> Any:
    """Return a manifest's `count` without Spot; None where it has none.

    Source: https://aws.github.io/copilot-cli/docs/manifest/lb-web-service/#count-spot
    """
    if not isinstance(count, dict):
        return None
    if "spot" in count:
        return count["spot"]
    scaling = count.get("range")
    if isinstance(scaling, dict) and "spot_from" in scaling:
        kept = {key: value for key, value in scaling.items() if key != "spot_from"}
        return {**count, "range": kept}
    return None
