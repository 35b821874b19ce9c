"""The HTTPS proxy that stands where AWS would: it opens the TLS of every AWS host and asks moto."""

from __future__ import annotations

import html
import json
import logging
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import responses as reasons
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, ClassVar, NamedTuple, cast

from moto.backend_index import backend_url_patterns
from moto.backends import get_backend
from moto.core.base_backend import BackendDict
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from werkzeug.exceptions import HTTPException

from .calls import Failure, read_call
from .certificates import CertificateAuthority
from .faults import Faults, FaultsWrong

log = logging.getLogger(__name__)

_IDLE = 900.0  # seconds until a connection that nobody uses is closed
_NO_BODY = frozenset({204, 304})

# A function of moto's: request, address, headers → status, headers, body.
Dispatch = Callable[[Any, str, Any], Any]
Answer = tuple[int, Mapping[str, Any], bytes]  # status, headers, body


class Route(NamedTuple):
    """What answers a request: the service, by moto's name, and its function."""

    service: str
    dispatch: Dispatch


class Router:
    """Finds what answers a request: one of our own services, or moto's by its list of addresses."""

    def __init__(self, own: Mapping[str, Dispatch]) -> None:
        self._own = own
        self._routes: dict[str, list[tuple[re.Pattern[str], Dispatch]]] = {}
        self._names: dict[str, str | None] = {}

    def find(self, host: str, path: str) -> Route | None:
        # Bucket names are in the host: S3 is the one service for which the path decides nothing here.
        address = f"https://{host}"
        if address not in self._names:
            self._names[address] = next(
                (name for name, pattern in backend_url_patterns if pattern.match(f"{address}{path}")), None
            )
        name = self._names[address]
        if name is None:
            return None
        if name in self._own:
            return Route(name, self._own[name])
        if name not in self._routes:
            self._routes[name] = [
                (re.compile(pattern), function) for pattern, function in _url_paths(name).items()
            ]
        matching = (function for pattern, function in self._routes[name] if pattern.match(path))
        return next((Route(name, function) for function in matching), None)


def _url_paths(name: str) -> Mapping[str, Dispatch]:
    backends: Any = get_backend(name)  # type: ignore[call-overload]  # its overloads list literal names
    if isinstance(backends, BackendDict):
        regional = backends[DEFAULT_ACCOUNT_ID]
        backend = regional["us-east-1" if "us-east-1" in regional else "aws"]
    else:
        backend = backends["global"]
    paths: Mapping[str, Dispatch] = backend.url_paths
    return paths


class ProxyServer(ThreadingHTTPServer):
    """One thread for each connection; the requests themselves go through one lock."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        port: int,
        router: Router,
        authority: CertificateAuthority,
        lock: threading.RLock,
        faults: Faults,
        after_request: Callable[[], None],
        check: Callable[[Request], None],
    ) -> None:
        """`check` raises an HTTPException where a request may not be made."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.router = router
        self.authority = authority
        self.lock = lock
        self.faults = faults
        self.after_request = after_request
        self.check = check
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        log.debug("the connection from %s broke: %r", client_address, sys.exception())

    def close(self) -> None:
        """Stop listening and hang up on everybody."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            for request in self._open:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    log.debug("a client had hung up already")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    server: ProxyServer
    disable_nagle_algorithm = True
    _tunnel: ssl.SSLSocket | None = None

    def do_CONNECT(self) -> None:
        host = self.path.rsplit(":", 1)[0]
        context = self.server.authority.context(host)
        self.connection.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        self._tunnel = context.wrap_socket(self.connection, server_side=True)
        self.connection = self._tunnel
        self.rfile.close()
        self.rfile = cast("BufferedIOBase", self._tunnel.makefile("rb"))
        self.wfile = _Writer(self._tunnel)  # type: ignore[assignment]  # all that http.server asks of it
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if self._tunnel is not None:
            self._tunnel.close()

    def _serve(self) -> None:
        host = self.headers.get("Host", "")
        path = re.sub(r"^https?://[^/]*", "", self.path) or "/"
        answer = self._answer(host, path, self._body())
        if answer is None:
            self.close_connection = True
        else:
            self._send(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815  # http.server's names

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def _answer(self, host: str, path: str, body: bytes) -> Answer | None:
        """Return what to say; None where a fault asks for the connection to be closed instead."""
        try:
            route = self.server.router.find(host, path.split("?", 1)[0])
            if route is None:
                return self._refuse(host, f"The sandbox has no service at {host}{path.split('?', 1)[0]}")
            request = Request.from_primitives(self.command, f"https://{host}{path}", self.headers, body)
            return self._meet(route, request)
        except FaultsWrong as error:
            return self._refuse(host, str(error))
        except HTTPException as error:
            described = error.get_body()
            return error.code or 400, dict(error.get_headers()), described.encode()
        except NotImplementedError as error:
            log.warning("%s %s: not implemented: %s", self.command, host, error)
            return self._refuse(host, f"The sandbox's AWS does not have this: {error}")
        except Exception as error:
            log.exception("%s %s%s broke", self.command, host, path)
            return self._refuse(host, f"The sandbox's AWS broke: {error!r}; see its log")

    def _meet(self, route: Route, request: Request) -> Answer | None:
        """Let the fault that waits for this call happen, if there is one."""
        faults = self.server.faults
        if not faults.watching:
            return self._dispatch(route, request)
        call = read_call(route.service, request)
        faults.note(str(call))
        fault = faults.of_call(str(call)) if call.operation else None
        if fault == "drop":
            return None
        if fault in ("throttle", "server-error"):
            return self._say(request.host, call.failure(fault))
        answer = self._dispatch(route, request)
        return None if fault == "drop-answer" else answer

    def _dispatch(self, route: Route, request: Request) -> Answer:
        with self.server.lock:
            self.server.check(request)
            answer = route.dispatch(request, request.raw_url, request.headers)
        self.server.after_request()
        status, headers, content = answer if isinstance(answer, tuple) else (200, {}, answer)
        return int(status), headers, content.encode() if isinstance(content, str) else content or b""

    def _refuse(self, host: str, message: str) -> Answer:
        """Say no with a status that SDKs do not try again."""
        return self._say(host, Failure(400, "SandboxException", message))

    def _say(self, host: str, failure: Failure) -> Answer:
        """Put an error in the protocol's own form."""
        status, code, message = failure
        target = self.headers.get("X-Amz-Target", "")
        if target or "json" in self.headers.get("Content-Type", "") or host.startswith("lambda."):
            body = json.dumps({"__type": code, "message": message, "Message": message})
            headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amzn-Errortype": code}
            return status, headers, body.encode()
        error = f"<Code>{code}</Code><Message>{html.escape(message)}</Message>"
        if host.startswith("ec2."):
            text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>0</RequestID></Response>"
        elif "s3" in host.split("."):
            text = f"<Error>{error}<RequestId>0</RequestId></Error>"
        else:
            whose = "Receiver" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Sender"
            text = (
                f"<ErrorResponse><Error><Type>{whose}</Type>{error}</Error><RequestId>0</RequestId>"
                "</ErrorResponse>"
            )
        return status, {"Content-Type": "text/xml"}, text.encode()

    def _send(self, status: int, headers: Mapping[str, Any], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status} {reasons.get(status, 'OK')}"]
        has_length = False
        for key, value in headers.items():
            name = str(key).lower()
            if name in self._HOP_BY_HOP:
                continue
            text = value.decode() if isinstance(value, bytes) else str(value)
            if name == "content-length":
                if self.command != "HEAD":
                    continue
                has_length = True
            lines.append(f"{key}: {text}")
        if not has_length and status not in _NO_BODY:
            lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        silent = self.command == "HEAD" or status in _NO_BODY
        self.connection.sendall(head if silent else head + body)

    _HOP_BY_HOP: ClassVar[frozenset[str]] = frozenset({"connection", "transfer-encoding", "status"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        log.debug(format, *args)


class _Writer:
    """A socket as http.server writes to it: everything at once."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self.closed = False

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True
