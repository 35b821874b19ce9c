"""Run a task of the menu: with flags only, and with errors as one line and an exit code."""

from __future__ import annotations

import functools
import inspect
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Context, Task, task
from invoke.exceptions import Exit

from copilot_testenv import unknown_words

# All short flags, the same on each task that has the long one. `-h` is Invoke's own: --help.
SHORT_FLAGS = {"branch": "b", "plan": "p", "yes": "y"}
YES = "Answer yes to the question this task asks (default: ask; without a terminal: no)."
# The help texts of flags that mean the same on each task that has them, unless the task has its own text.
_SHARED = {
    "json": "Print one JSON document on standard output and nothing else there (default: off).",
    "plan": "Show what would happen and change nothing (default: off).",
    "wait": "Wait, in order of arrival, while another run changes the slot (default: exit 5).",
    "yes": "Accept --yes as the tasks that ask do; this one asks nothing (default: off).",
}
# Invoke's own flags, by the setting of `Context.run` that they change; no task here calls `Context.run`.
_INVOKES_OWN = {
    "echo": "-e (--echo)",
    "pty": "-p (--pty)",
    "warn": "-w (--warn-only)",
    "hide": "--hide",
    "dry": "-R (--dry)",
}


class Verb(Task[Callable[..., None]]):
    """A task with the short flags of SHORT_FLAGS; Invoke itself would use the first free letter."""

    def arg_opts(self, name: str, default: str, taken_names: set[str]) -> dict[str, Any]:
        """Return the options of Invoke's Argument for a flag."""
        options = super().arg_opts(name, default, taken_names)
        if short := SHORT_FLAGS.get(name):
            options["names"] = [*options["names"], short]
        return options


def verb(**flags: str) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that makes a function a task; `flags` are the help texts of its own flags.

    Invoke passes a context to each task; no task here needs it, so the functions do not have the parameter.
    `positional=[]`, because Invoke runs a task with an unfilled positional on `--help` instead of showing it.
    A function whose name would hide a built-in ends in `_`; its task's name does not.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def run(_context: Context, *args: Any, **given: Any) -> None:
            from copilot_testenv.core import display  # noqa: PLC0415 - `invoke --list` stays fast
            from copilot_testenv.core.errors import UserError  # noqa: PLC0415
            from copilot_testenv.core.terminal import Terminal, thread_failed  # noqa: PLC0415 - see above

            threading.excepthook = thread_failed
            Terminal.has_answered = False
            json = bool(given.get("json"))

            try:
                _refuse_invokes_own(_context)
                function(*args, **given)
            except UserError as error:
                raise _exit(display.block(str(error)), error.exit_code, json=json) from None
            except KeyboardInterrupt:
                raise _exit("Interrupted; no change was under way.", 130, json=json) from None
            except BrokenPipeError:  # `invoke logs | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            except Exception as error:  # noqa: BLE001 - the user gets one line, a developer the traceback
                if os.environ.get("TASKS_TRACEBACK"):
                    raise _exit(display.block(traceback.format_exc()), 4, json=json) from None
                reason = display.line(display.masked(str(error)))
                raise _exit(
                    f"{type(error).__name__}: {reason}. This is an error in these tasks: please report it "
                    "with the output of TASKS_TRACEBACK=1.",
                    4,
                    json=json,
                ) from None

        signature = inspect.signature(function)
        shared = {flag: text for flag, text in _SHARED.items() if flag in signature.parameters}
        context = inspect.Parameter("_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = signature.replace(parameters=[context, *signature.parameters.values()])  # type: ignore[attr-defined]
        name = function.__name__.rstrip("_")
        unknown_words.know(name.replace("_", "-"))
        return task(name=name, positional=[], help={**shared, **flags}, auto_shortflags=False, klass=Verb)(
            run
        )

    return decorate


def _exit(message: str, code: int, *, json: bool) -> Exit:
    """Return the exception that ends Invoke with this message and exit code.

    With `json`, first print the error as the JSON document, unless the task has printed its own.
    """
    from copilot_testenv.core.terminal import Terminal, as_json, fitted  # noqa: PLC0415 - see above

    if json and not Terminal.has_answered:
        Terminal().data(as_json({"error": message, "exit_code": code}))
    return Exit(fitted(message), code)


def _refuse_invokes_own(context: Context) -> None:
    """Raise UsageError where one of Invoke's own flags was given that has no effect here.

    Invoke accepts its own flags after a task's name too, so `teardown --dry` or a mistyped short flag would
    otherwise run the task. Settings in Invoke's own files, such as ~/.invoke.yaml, are allowed.
    """
    from copilot_testenv.core.errors import UsageError  # noqa: PLC0415 - `invoke --list` stays fast

    given = context.config._overrides.get("run", {})  # noqa: SLF001 - only the command line's; not public
    if names := [shown for name, shown in _INVOKES_OWN.items() if name in given]:
        raise UsageError(
            f"{', '.join(names)} is a flag of Invoke itself and has no effect on these tasks: leave it out. "
            "`invoke TASK --help` shows the flags of a task; --plan changes nothing."
        )


def session(*, elsewhere: bool = False) -> Any:
    """Return the session of a real run in this workspace.

    With `elsewhere`, TEST_ENV is an environment of another workspace.
    """
    from copilot_testenv.core.settings import find_workspace  # noqa: PLC0415 - `invoke --list` stays fast

    return _session(find_workspace(Path.cwd()), elsewhere=elsewhere)


def sessions() -> list[Any]:
    """Return the sessions in which `check` looks: this workspace's, else those of the workspaces below."""
    from copilot_testenv.core import workspace_files  # noqa: PLC0415 - `invoke --list` stays fast
    from copilot_testenv.core.settings import find_workspace  # noqa: PLC0415 - `invoke --list` stays fast

    here = Path.cwd()
    roots = workspace_files.nearest(here) or [find_workspace(here)]
    return [_session(root, checking=True) for root in roots]


def _session(root: Path, **how: bool) -> Any:
    """Return a session with the workspace's settings, read as `how` says, real processes and a terminal."""
    from copilot_testenv.core.process import RealShell  # noqa: PLC0415 - `invoke --list` stays fast
    from copilot_testenv.core.settings import load  # noqa: PLC0415 - `invoke --list` stays fast
    from copilot_testenv.core.terminal import Terminal  # noqa: PLC0415 - `invoke --list` stays fast
    from copilot_testenv.session import Session  # noqa: PLC0415 - `invoke --list` stays fast

    return Session(load(root, os.environ, **how), RealShell(), Terminal(), os.environ)
