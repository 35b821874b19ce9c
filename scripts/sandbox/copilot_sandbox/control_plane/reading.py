"""Reads requests within limits: bytes of the head, bytes of the body, and only unambiguous framing."""

from __future__ import annotations

import re
from email.message import Message
from http.client import LineTooLong
from io import BufferedIOBase

HEAD_LIMIT = 64 << 10  # bytes of a request's line and headers together
# Bytes of a body. S3 gets Copilot's templates and artefacts, ECR and CloudFormation get documents: AWS's own
# limits are 4 MiB for an image's manifest and 1 MiB for a template.
BODY_LIMITS = {"s3": 64 << 20}
BODY_LIMIT = 8 << 20
_CHUNK_LINE = 1024
_TRAILERS = 32


class BodyError(Exception):
    """The body was not read; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head:
    """A connection's input, from which http.server can read at most HEAD_LIMIT bytes of a head."""

    def __init__(self, source: BufferedIOBase) -> None:
        self._source = source
        self._left = HEAD_LIMIT

    def begin(self) -> None:
        """Start to count again for a new request."""
        self._left = HEAD_LIMIT

    def readline(self, size: int = -1) -> bytes:
        """Read a line of a head. Raises LineTooLong, which http.server answers."""
        if self._left <= 0:
            raise LineTooLong("head")
        line = self._source.readline(self._left if size < 0 else min(size, self._left))
        self._left -= len(line)
        return line

    def body_line(self) -> bytes:
        """Read a line of a chunked body's framing. Raises BodyError."""
        line = self._source.readline(_CHUNK_LINE)
        if not line.endswith(b"\n"):
            raise BodyError(400, "The body's framing is invalid.")
        return line

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes of a body. Raises BodyError."""
        data = self._source.read(size)
        if len(data) < size:
            raise BodyError(400, "The body ends early.")
        return data

    def close(self) -> None:
        self._source.close()


def read_body(head: Head, headers: Message, limit: int) -> bytes:
    """Read a request's body. Raises BodyError if it is too large, or its framing is invalid or ambiguous."""
    encodings, lengths = headers.get_all("Transfer-Encoding", []), headers.get_all("Content-Length", [])
    if not encodings:
        if len(lengths) > 1 or not all(re.fullmatch(r"[0-9]{1,18}", value, re.ASCII) for value in lengths):
            raise BodyError(400, "The Content-Length is invalid.")
        length = int(lengths[0]) if lengths else 0
        _check_size(length, limit)
        return head.read(length)
    if lengths or [value.strip().lower() for value in encodings] != ["chunked"]:
        raise BodyError(400, "The body has two kinds of framing, or an unknown one.")
    body = bytearray()
    while True:
        size = re.fullmatch(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n", head.body_line())
        if size is None:
            raise BodyError(400, "The body's framing is invalid.")
        length = int(size[1], 16)
        _check_size(len(body) + length, limit)
        if length == 0:
            break
        body += head.read(length)
        if head.body_line().strip():
            raise BodyError(400, "The body's framing is invalid.")
    for _ in range(_TRAILERS):
        if not head.body_line().strip():
            return bytes(body)
    raise BodyError(400, "The body has too many trailers.")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BodyError(413, f"The body is larger than {limit >> 20} MiB.")
