"""How a task of the menu runs: flags only, our errors as one line and an exit code, never a traceback."""

from __future__ import annotations

import functools
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Context, task
from invoke.exceptions import Exit

ROOT = Path(__file__).resolve().parent.parent


def verb(**flags: str) -> Callable[[Callable[..., None]], Any]:
    """A task whose flags each have their help text here.

    `positional=[]`, because Invoke runs a task with an unfilled positional on `--help` instead of showing it.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def run(_context: Context, *args: Any, **given: Any) -> None:
            from scripts import display  # noqa: PLC0415 - `invoke --list` pays for nothing
            from scripts.errors import UserError  # noqa: PLC0415
            from scripts.report import thread_failed  # noqa: PLC0415

            threading.excepthook = thread_failed

            try:
                function(_context, *args, **given)
            except UserError as error:
                raise Exit(display.block(str(error)), error.exit_code) from None
            except KeyboardInterrupt:
                raise Exit("Interrupted; nothing was under way.", 130) from None
            except BrokenPipeError:  # `invoke logs | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            except Exception as error:  # noqa: BLE001 - a person gets a line; whoever mends it, the traceback
                if os.environ.get("TASKS_TRACEBACK"):
                    raise Exit(display.block(traceback.format_exc()), 4) from None
                reason = display.line(display.masked(str(error)))
                raise Exit(
                    f"{type(error).__name__}: {reason}. This is a fault of these tasks: please report it "
                    "with what TASKS_TRACEBACK=1 shows.",
                    4,
                ) from None

        return task(positional=[], help=flags)(run)

    return decorate


def bench(*, elsewhere: bool = False) -> Any:
    """The workbench of a real run: this repository, its settings, real processes and a terminal.

    `elsewhere`: the run is about the environment TEST_ENV of another workspace.
    """
    from scripts.command import RealShell  # noqa: PLC0415 - `invoke --list` pays for nothing
    from scripts.environment import Bench  # noqa: PLC0415
    from scripts.report import Terminal  # noqa: PLC0415
    from scripts.settings import load  # noqa: PLC0415

    return Bench(load(ROOT, os.environ, elsewhere=elsewhere), RealShell(), Terminal(), os.environ)
