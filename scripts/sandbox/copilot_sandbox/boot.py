"""The command line of the sandbox's own processes: this interpreter, with this package and no others.

Only the standard library is used here, and in every program that starts with `BARE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SOURCES = str(PACKAGE.parent)  # where `copilot_sandbox` was imported from
# -I and -S: no Python settings of the user and no search for packages, which halves the start time.
BARE = (sys.executable, "-I", "-S", "-c")


def bare(module: str, call: str) -> list[str]:
    """Return a command line that calls `call` of a module of this package with the words added to it."""
    code = (
        f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import {call}; "
        f"sys.exit({call}(sys.argv[1:]))"
    )
    return [*BARE, code, SOURCES]
