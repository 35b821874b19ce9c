"""Import functions of the project that the settings name, and find the place of an error in its code."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .problems import Misconfigured


def function(path: str, where: str) -> Callable[..., Any]:
    """Import "module.function". Raise Misconfigured, whatever the module raises; `where` is the setting."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001  whatever the project's module raises
        why = f"it raised {type(error).__name__}{place(error)}"
    else:
        if not callable(found):
            raise Misconfigured(f"{where}: {path!r} is not a function")
        return found  # type: ignore[no-any-return]  # a wrong signature shows when it is called
    raise Misconfigured(f"{where}: {path!r} cannot be imported: {why}")


def place(error: BaseException) -> str:
    """Return where in the project's own code an error arose; empty if nowhere in it."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    own = [
        (Path(file).name, line)
        for file, line in frames
        if "site-packages" not in file
        and not file.startswith("<")
        and Path(file).parent != Path(__file__).parent
        and Path(file) != Path(importlib.__file__)
    ]
    return f" at {own[-1][0]}, line {own[-1][1]}" if own else ""
