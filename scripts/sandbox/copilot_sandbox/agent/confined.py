"""Runs a command of a branch (a step of a build, for example) in its own file system, if the system can."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox.agent import filesystem, namespace, port_forwards, wire
from copilot_sandbox.boot import bare
from copilot_sandbox.child_variables import OWNER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from copilot_sandbox.agent.port_forwards import PortForward

_PROBE_SECONDS = 30
_CARRIED = "COPILOT_SANDBOX_CARRIED"
_ADDRESS = "10.0.255.252"  # in a network of its own, to which nothing else is connected
_REFUSED = 126  # a shell's exit code for a program that it may not run


@contextmanager
def confined(
    words: Sequence[str],
    *,
    readable: Sequence[Path],
    writable: Sequence[Path],
    control: socket.socket | None = None,
) -> Iterator[list[str]]:
    """Yield a command line that runs `words` in a file system without the user's other files and /tmp.

    On a system without namespaces it is `words` unchanged. The working folder has to be in one of the
    `readable` or `writable` folders. With `control`, which the command inherits, it has a network of its own
    too; `answer` has to be called at the other end.
    """
    if obstacle() is not None:
        yield list(words)
        return
    with tempfile.TemporaryDirectory(prefix="copilot-sandbox-step-") as scratch:
        yield _command(
            filesystem.Shown(
                [*map(str, readable), *filesystem.interpreter()],
                [str(each) for each in writable],
                hidden(),
                scratch,
            ),
            words,
            control,
        )


def answer(forwards: Sequence[PortForward], control: socket.socket) -> list[socket.socket]:
    """Answer `forwards` in the network of a command that has just been started.

    Return the listening sockets, which the caller closes. If the command could not have such a network,
    there are none, and the command ends with the reason. Raises OSError.
    """
    control.sendall(wire.pack(list(forwards)))
    return port_forwards.serve(list(forwards), control)


def carried(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment to start a confined command with, which then runs with `env`.

    `env` may name libraries of a branch (LD_PRELOAD), so nothing reads it before the command is confined.
    """
    if obstacle() is not None:
        return dict(env)
    marks = {name: value for name, value in env.items() if name == OWNER}
    return {**marks, _CARRIED: json.dumps(dict(env))}


def hidden() -> list[str]:
    """Return the user's folders that a system folder may contain."""
    return sorted({str(Path.home()), str(Path.cwd())} - {"/"})


@cache
def obstacle() -> str | None:
    """Return why a process can't have its own file system here; None if it can."""
    if sys.platform != "linux":
        return "this system has no namespaces"
    with tempfile.TemporaryDirectory(prefix="copilot-sandbox-probe-") as scratch:
        done = subprocess.run(
            _command(
                filesystem.Shown(filesystem.interpreter(), [], [], scratch),
                [sys.executable, "-ISc", ""],
                None,
            ),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
        )
    lines = done.stderr.strip().splitlines() or ["for an unknown reason"]
    return lines[-1] if done.returncode else None


def _command(shown: filesystem.Shown, words: Sequence[str], control: socket.socket | None) -> list[str]:
    descriptor = str(control.fileno()) if control else ""
    return [*bare("copilot_sandbox.agent.confined", "main"), json.dumps(shown), descriptor, *words]


def _enter_network(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as control:
        forwards = wire.receive(control)
        namespace.enter_namespace(_ADDRESS)
        port_forwards.offer(forwards or [], control)


def main(arguments: list[str]) -> None:
    """Enter the file system that the first argument describes, then execute the arguments from the third.

    The second is the descriptor of a socket (see `confined`), or empty.
    """
    shown, descriptor, *words = arguments
    folder = Path.cwd()
    try:
        if descriptor:
            _enter_network(int(descriptor))
        filesystem.enter(filesystem.Shown(*json.loads(shown)), network=not descriptor)
        os.chdir(folder if folder.is_dir() else "/")
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.exit(_REFUSED)
    given = os.environ.pop(_CARRIED, None)
    env = json.loads(given) if given else dict(os.environ)
    os.execvpe(words[0], words, env)  # noqa: S606 -- runs the caller's command
