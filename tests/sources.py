"""Where the three import packages lie in a clone, for processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def sources(root: Path = ROOT) -> str:
    """Return PYTHONPATH for a clone."""
    return os.pathsep.join(str(root / each) for each in ("scripts", "scripts/sandbox", "scripts/runtime"))
