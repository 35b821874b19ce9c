"""Call the functions of rules in a process of their own, which has no output, no log and no open socket.

What a function prints, warns of, logs or raises may quote the value that it was given. So nothing but its
result, or the name of its error's class, comes back from there.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import stat
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NoReturn, Optional

from .constants import as_text
from .problems import Failed

if TYPE_CHECKING:
    from .masking import Selection

_ASKED = struct.Struct("!Iq")  # the function's number, and the length of the text; -1 for None
_ANSWERED = struct.Struct("!cq")  # b"v" for a value, b"e" for an error; the length of the text, or -1
_NULL = -1
_FILES = 4096  # numbers of open files that are looked at

Call = Callable[[Optional[str]], Any]


class CallError(Exception):
    """A function of a rule failed; `kind` is the name of its error's class."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@contextlib.contextmanager
def apart(selections: Mapping[int, Selection]) -> Iterator[dict[int, Selection]]:
    """Yield the selections with functions that another process calls, which ends with the block.

    Those take and return the text's bytes, because values may be large.

    Call this before other threads are started. Raise Failed if no process can be started.
    """
    functions = [call for selection in selections.values() for call in selection.calls.values()]
    if not functions:
        yield dict(selections)
        return
    with contextlib.closing(_Process(functions)) as process:
        numbers = iter(range(len(functions)))
        yield {
            oid: replace(selection, calls={name: process.function(next(numbers)) for name in selection.calls})
            for oid, selection in selections.items()
        }


class _Process:
    def __init__(self, functions: list[Call]) -> None:
        asked, ask = os.pipe()
        answer, answering = os.pipe()
        self._lock = threading.Lock()
        try:
            with warnings.catch_warnings():  # Python 3.12 warns where a thread draws the progress
                warnings.simplefilter("ignore")
                self._pid = os.fork()
        except OSError as error:
            raise Failed(f"no process for the functions of rules could be started: {error}") from None
        if not self._pid:
            os.close(ask)
            os.close(answer)
            _serve(functions, asked, answering)
        os.close(asked)
        os.close(answering)
        self._ask, self._answer = os.fdopen(ask, "wb"), os.fdopen(answer, "rb")

    def function(self, number: int) -> Callable[[bytes | None], bytes | None]:
        def call(value: bytes | None) -> bytes | None:
            with self._lock:
                return self._call(number, value)

        return call

    def _call(self, number: int, value: bytes | None) -> bytes | None:
        try:
            _write(self._ask, _ASKED, number, value)
            kind, text = _read(self._answer, _ANSWERED)
        except (OSError, EOFError):
            raise CallError("nothing: the process of its own ended") from None
        if kind == b"e":
            raise CallError((text or b"").decode())
        return text

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        for file in (self._ask, self._answer):
            with contextlib.suppress(OSError):
                file.close()


def _write(file: IO[bytes], head: struct.Struct, first: int | bytes, text: bytes | None) -> None:
    file.write(head.pack(first, _NULL if text is None else len(text)))
    file.write(text or b"")
    file.flush()


def _read(file: IO[bytes], head: struct.Struct) -> tuple[Any, bytes | None]:
    """Return what comes next; raise EOFError if the other end is closed."""
    first, length = head.unpack(_exactly(file, head.size))
    return first, None if length == _NULL else _exactly(file, length)


def _exactly(file: IO[bytes], length: int) -> bytes:
    content = file.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _serve(functions: list[Call], asked: int, answering: int) -> NoReturn:
    """Answer until the other end is closed; never return, whatever happens."""
    try:
        _be_silent()
        questions, answers = os.fdopen(asked, "rb"), os.fdopen(answering, "wb")
        while True:
            _write(answers, _ANSWERED, *_answer(functions, *_read(questions, _ASKED)))
    except BaseException:  # noqa: BLE001  also an interruption: the caller says so
        os._exit(0)


def _answer(functions: list[Call], number: int, value: bytes | None) -> tuple[bytes, bytes | None]:
    try:
        text = as_text(functions[number](None if value is None else value.decode(errors="surrogateescape")))
        return b"v", None if text is None else text.encode(errors="surrogateescape")
    except BaseException as error:  # noqa: BLE001  any error may quote the value
        return b"e", _named(type(error)).encode(errors="replace")


def _named(kind: type) -> str:
    """Return the name of a class; of one that code has made up as it ran, no name: that may be a value."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return kind.__name__ if found is kind else "an error"


def _be_silent() -> None:
    """Take output, logs, warnings and sockets from this process, and let it leave no core file."""
    gc.freeze()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = os.fdopen(nothing, "w")  # type: ignore[misc]
    logging.disable(sys.maxsize)
    warnings.simplefilter("ignore")
    for number in range(3, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _FILES)):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.close(number)
