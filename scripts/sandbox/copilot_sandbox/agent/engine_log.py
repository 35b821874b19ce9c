"""A program that writes what a container of Podman writes, and ends with it.

`podman logs --follow` does the same, but looks for the container's end every quarter of a second, and then
waits as long again. A task starts and stops its containers one after the other, and a deploy waits for each.
The file's form is Kubernetes's: time, stream, P (the line goes on) or F, and the text.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from copilot_sandbox.boot import bare

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK_SECONDS = 0.05
_AT_ONCE = 1 << 20  # bytes
_FIELDS = 4


def command(log: str, monitor: int) -> list[str]:
    """Return the command line. Podman's process `monitor` writes `log`, and ends after the container."""
    return [*bare("copilot_sandbox.agent.engine_log", "main"), log, str(monitor)]


def main(arguments: Sequence[str]) -> int:
    """Write to this process's own output until the container has ended. Return 0."""
    log, monitor = arguments
    outputs = {b"stdout": sys.stdout.buffer, b"stderr": sys.stderr.buffer}
    with suppress(FileNotFoundError), Path(log).open("rb") as file:  # the container may be removed already
        rest = b""
        while True:
            has_ended = not _runs(monitor)  # asked first, so that nothing is written after the last read
            while data := file.read(_AT_ONCE):
                *lines, rest = (rest + data).split(b"\n")
                _write(lines, outputs)
            if has_ended:
                break
            time.sleep(_LOOK_SECONDS)
    return 0


def _runs(process: str) -> bool:
    try:
        return bool(Path("/proc", process, "cmdline").read_bytes())  # that of a zombie is empty
    except OSError:
        return False


def _write(lines: Sequence[bytes], outputs: dict[bytes, BinaryIO]) -> None:
    for line in lines:
        fields = line.split(b" ", _FIELDS - 1)
        if len(fields) == _FIELDS and fields[1] in outputs:
            outputs[fields[1]].write(fields[3] + (b"" if fields[2] == b"P" else b"\n"))
    for output in outputs.values():
        output.flush()
