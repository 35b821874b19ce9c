"""Call the functions of rules in a process of their own, which has no output, no log and no open socket.

What a function prints, warns of, logs or raises may quote the value that it was given. So nothing but its
result, or the name of its error's class, comes back from there.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import logging
import os
import re
import resource
import signal
import stat
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NoReturn, Optional

from .constants import as_text
from .problems import Failed

if TYPE_CHECKING:
    from .masking import Selection

# A question is a function's number and a text, an answer is a text. A text comes in pieces, each after its
# length, and ends with one of these in the place of a length.
_NUMBER, _LENGTH = struct.Struct("!I"), struct.Struct("!q")
_END, _NULL, _DROPPED, _FAILED = -1, -2, -3, -4  # after _FAILED comes the name of the error's class
_PIECE = 1 << 16  # characters
_SURROGATE = re.compile(r"[\udc80-\udcff]")  # what `surrogateescape` makes of a byte
_ENDED = "nothing: the process of its own ended"
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

    Those take and return a text's bytes piece by piece, because values may be large; None is null.

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

    def function(self, number: int) -> Callable[[Iterable[bytes] | None], Iterator[bytes | None]]:
        def call(value: Iterable[bytes] | None) -> Iterator[bytes | None]:
            with self._lock:
                self._put_question(number, value)
                answer = self._answers()
                try:
                    for piece in answer:  # noqa: UP028  `yield from` would close the answer with this
                        yield piece
                finally:  # the next question's answer follows
                    with contextlib.suppress(CallError):
                        for _ in answer:
                            pass

        return call

    def _put_question(self, number: int, value: Iterable[bytes] | None) -> None:
        end = _NULL if value is None else _DROPPED
        self._write(_NUMBER.pack(number))
        try:
            for piece in value or ():
                self._write(_LENGTH.pack(len(piece)) + piece)
            end = _NULL if value is None else _END
        finally:
            self._write(_LENGTH.pack(end), last=True)

    def _write(self, data: bytes, *, last: bool = False) -> None:
        try:
            self._ask.write(data)
            if last:
                self._ask.flush()
        except OSError:
            raise CallError(_ENDED) from None

    def _answers(self) -> Iterator[bytes | None]:
        """Yield the pieces of an answer, or None for null. Raise CallError."""
        try:
            while (length := _length(self._answer)) >= 0:
                yield _exactly(self._answer, length)
            failure = _exactly(self._answer, _length(self._answer)).decode() if length == _FAILED else ""
        except (OSError, EOFError):
            failure = _ENDED
        if failure:
            raise CallError(failure)
        if length == _NULL:
            yield None

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        for file in (self._ask, self._answer):
            with contextlib.suppress(OSError):
                file.close()


def _length(file: IO[bytes]) -> int:
    length: int = _LENGTH.unpack(_exactly(file, _LENGTH.size))[0]
    return length


def _exactly(file: IO[bytes], length: int) -> bytes:
    """Return what comes next; raise EOFError if the other end is closed."""
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
            (number,) = _NUMBER.unpack(_exactly(questions, _NUMBER.size))
            end, text, errors = _text(questions)
            if end != _DROPPED:
                arguments = [None if end == _NULL else text]
                del text
                _answer(functions[number], arguments, errors, answers)
                answers.flush()
    except BaseException:  # noqa: BLE001  also an interruption: the caller says so
        os._exit(0)


def _text(file: IO[bytes]) -> tuple[int, str, str]:
    """Return how the next text ends, the text, and how its bytes that are no UTF-8 are written.

    There is one copy of the text, also while it grows.

    CPython adds to a local text in place: 3.11 after some rounds of a `for`, and not of a `while`.
    """
    decoder, text, length = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape"), "", _END
    errors = "strict"
    for length in iter(lambda: _length(file), None):
        if length < 0:
            break
        more = decoder.decode(_exactly(file, length))
        errors = "surrogateescape" if _SURROGATE.search(more) else errors
        text += more
    more = decoder.decode(b"", final=True)
    return length, text + more, "surrogateescape" if more else errors


def _answer(function: Call, arguments: list[str | None], errors: str, file: IO[bytes]) -> None:
    """Write what the function returns. It gets the text out of the list, which keeps none."""
    try:
        text = as_text(function(arguments.pop()))
        for start in range(0, len(text or ""), _PIECE):
            piece = (text or "")[start : start + _PIECE].encode(errors=errors)
            file.write(_LENGTH.pack(len(piece)) + piece)
        file.write(_LENGTH.pack(_NULL if text is None else _END))
    except BaseException as error:  # noqa: BLE001  any error may quote the value
        name = _named(type(error)).encode(errors="replace")
        file.write(_LENGTH.pack(_FAILED) + _LENGTH.pack(len(name)) + name)


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
