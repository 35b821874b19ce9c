"""How a process of the sandbox's own is started: by this interpreter, with this package and nothing else.

Only the standard library is used here, and by what is started with `BARE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SOURCES = str(PACKAGE.parent)  # where `copilot_sandbox` was imported from
# -I and -S: nothing of the user's Python settings, and no search for packages, which halves its start.
BARE = (sys.executable, "-I", "-S", "-c")


def bare(module: str, call: str) -> list[str]:
    """Return the words that run `call` of a module of this package; `sys.argv` has what follows them."""
    code = (
        f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import {call}; "
        f"sys.exit({call}(sys.argv[1:]))"
    )
    return [*BARE, code, SOURCES]
