"""The command `copilot-sandbox`: start, stop, reset, status, exec.

Exit codes: 0 done · 1 usage · 2 the workspace has an error · 4 a command, or a part of the sandbox, failed ·
130 interrupted. `exec` returns its command's exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from copilot_sandbox import lifecycle
from copilot_sandbox.credentials import write_profile
from copilot_sandbox.errors import Failed, SandboxError, WorkspaceError
from copilot_sandbox.state import State
from copilot_sandbox.workspace import copilot, find_or_begin, root_of

USAGE = 1
INTERRUPTED = 130
_SHOW_SECONDS = 60.0  # for Copilot to list the deployed services
_EPILOG = """\
exit codes:
  0 done, 1 usage, 2 the workspace has an error, 4 a command or a part of the sandbox failed,
  130 interrupted; `exec` returns its command's exit code.

Where Copilot asks for credentials, choose the profile `sandbox`: `--profile sandbox`.
"""

_EXEC_USAGE = (
    "copilot-sandbox: `exec` needs a command after two dashes, and no other command takes one: "
    "`copilot-sandbox exec -- copilot svc ls`."
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Progress and errors go to standard error."""
    arguments = list(sys.argv[1:] if words is None else words)
    own, command = (arguments, []) if "--" not in arguments else _split(arguments)
    options = _parser().parse_args(own, argparse.Namespace(command=command))
    if ("--" in arguments) != (options.call is _exec) or (options.call is _exec and not command):
        _say(_EXEC_USAGE)
        return USAGE
    call: Callable[[argparse.Namespace], int] = options.call
    try:
        return call(options)
    except SandboxError as error:
        _say(f"copilot-sandbox: {error}")
        return error.exit_code
    except OSError as error:
        _say(f"copilot-sandbox: {error}.")
        return Failed.exit_code
    except KeyboardInterrupt:
        _say("copilot-sandbox: interrupted.")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="copilot-sandbox",
        description="An AWS on this machine, in which the AWS Copilot CLI deploys without an account.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    calls = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, call, text in (
        ("start", _start, "start the sandbox of this workspace"),
        ("stop", _stop, "stop it; its databases stay, the deployed services do not"),
        ("reset", _reset, "stop it and delete all its data"),
        ("status", _status, "show whether it runs, where, and the deployed services"),
        ("exec", _exec, "run a command in it: `exec -- copilot svc deploy`; starts it if necessary"),
    ):
        subparser = calls.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        subparser.set_defaults(call=call)
        if call is _reset:
            subparser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before the first `--`, and those after it."""
    index = words.index("--")
    return words[:index], words[index + 1 :]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is a program


def _root(*, begin: bool = False) -> Path:
    """Return the folder of the workspace, or of a started sandbox that has no workspace yet.

    If there is neither, return the current folder with `begin`. Raises WorkspaceError without it.
    """
    here = Path.cwd()
    started = (folder for folder in (here, *here.parents) if (folder / ".sandbox/server.lock").exists())
    root = root_of(here) or next(started, None)
    if root is None and not begin:
        raise WorkspaceError(f"There is no copilot/ in {here} or above it: change to a Copilot workspace.")
    return root or here


def _start(_options: argparse.Namespace) -> int:
    workspace = find_or_begin(_root(begin=True))
    lifecycle.start(workspace.root, _say, lambda: nullcontext(workspace))
    return 0


def _stop(_options: argparse.Namespace) -> int:
    lifecycle.stop(_root(), _say)
    return 0


def _reset(options: argparse.Namespace) -> int:
    root = _root()
    if not options.yes and not _confirmed(
        f"Stop the sandbox and delete all its data in {root / '.sandbox'}?"
    ):
        _say("Nothing was deleted: answer y, or use --yes.")
        return Failed.exit_code
    lifecycle.reset(root, _say)
    return 0


def _confirmed(question: str) -> bool:
    """Ask on the terminal. Without a terminal or an answer, return False."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - this is a program
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _status(_options: argparse.Namespace) -> int:
    root = _root()
    variables = lifecycle.enter(root, _say, None)
    if variables is None:
        _print(f"The sandbox of {root} {'is being started' if State(root).alive() else 'does not run'}.")
        return 0
    _print(f"The sandbox of {root} runs. Its log is {State(root).log}.")
    for line in _deployed(find_or_begin(root).application, _environment(variables)):
        _print(line)
    return 0


def _deployed(application: str, environment: dict[str, str]) -> list[str]:
    """Return a line for each service in each environment, with its URL, from Copilot's answers."""
    if not application:
        return ["There is no application yet: `copilot-sandbox exec -- copilot app init` creates one."]
    services = (_query(environment, "svc", "ls", "--app", application) or {}).get("services") or []
    lines = []
    for service in services:
        shown = _query(environment, "svc", "show", "--app", application, "--name", service["name"]) or {}
        urls = {item["environment"]: item["url"] for item in shown.get("routes") or []}
        deployed_in = sorted({item["environment"] for item in shown.get("configurations") or []})
        lines += [f"  {service['name']} in {item}: {urls.get(item, 'no URL')}" for item in deployed_in]
        lines += [] if deployed_in else [f"  {service['name']}: not deployed"]
    return lines or ["Nothing is deployed."]


def _query(environment: dict[str, str], *words: str) -> dict[str, Any] | None:
    """Return Copilot's JSON; None if it has none, for example for a service that is not deployed."""
    try:
        done = subprocess.run(
            [copilot(), *words, "--json"],
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SHOW_SECONDS,
        )
        document = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _exec(options: argparse.Namespace) -> int:
    """Replace this process with the command, which keeps its own output, signals and exit code."""
    workspace = find_or_begin(_root(begin=True))
    variables = lifecycle.enter(workspace.root, _say, lambda: nullcontext(workspace))
    if variables is None:
        raise Failed("The sandbox has ended again: see its log .sandbox/server.log.")
    environment = _environment(variables)
    profiles = State(workspace.root).folder / "credentials"
    write_profile(profiles, environment)
    environment["AWS_SHARED_CREDENTIALS_FILE"] = str(profiles)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execvpe(options.command[0], options.command, environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise Failed(f"`{shlex.join(options.command)}` cannot be run: {error.strerror}.") from error


def _environment(variables: lifecycle.Variables) -> dict[str, str]:
    """Return a child's whole environment. A Copilot on PATH precedes the one installed with the sandbox."""
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    return {**environment, "PATH": os.pathsep.join((environment["PATH"], str(Path(sys.executable).parent)))}


def _print(line: str) -> None:
    print(line)  # noqa: T201 - this is a program
