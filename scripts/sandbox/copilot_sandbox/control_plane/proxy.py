"""The HTTPS proxy in AWS's place: it terminates the TLS of every AWS host and passes requests to moto."""

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

from copilot_sandbox.certificates import CertificateAuthority
from copilot_sandbox.peers import is_own_user

from .connections import BODY_SECONDS, Connections
from .failures import CallFailed, Failure, Form, unsigned
from .for_tests import ForTests
from .hosts import is_served
from .reading import BODY_LIMIT, BODY_LIMITS, BodyError, Head, read_body
from .service_checks import corrected, require_valid
from .signatures import NotSignedError, Signatures

log = logging.getLogger(__name__)

_IDLE = 900.0  # seconds until an idle connection is closed
_NO_BODY = frozenset({204, 304})

# A function of moto's: request, address, headers → status, headers, body.
Dispatch = Callable[[Any, str, Any], Any]
Answer = tuple[int, Mapping[str, Any], bytes]  # status, headers, body


class Route(NamedTuple):
    """The function that answers a request, and its service by moto's name."""

    service: str
    dispatch: Dispatch


class Router:
    """Finds the route of a request: one of the sandbox's own services, or moto's by its list of addresses."""

    def __init__(self, services: Mapping[str, Dispatch]) -> None:
        self._services = services
        self._routes: dict[str, list[tuple[re.Pattern[str], Dispatch]]] = {}
        self._names: dict[str, str | None] = {}

    def find(self, host: str, path: str) -> Route | None:
        # Bucket names are part of the host, so the path does not help to find S3, unlike other services.
        address = f"https://{host}"
        if address not in self._names:
            self._names[address] = next(
                (name for name, pattern in backend_url_patterns if pattern.match(f"{address}{path}")), None
            )
        name = self._names[address]
        if name is None:
            return None
        if name in self._services:
            return Route(name, self._services[name])
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
    """Serves each connection in a thread of its own. One lock serialises the requests."""

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
        for_tests: ForTests,
        after_request: Callable[[], None],
        signatures: Signatures,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.router = router
        self.authority = authority
        self.lock = lock
        self.for_tests = for_tests
        self.after_request = after_request
        self.signatures = signatures
        self.connections = Connections()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse connections of other users' programs."""
        del client_address
        return isinstance(request, socket.socket) and is_own_user(request)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.connections.add(request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        self.connections.forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that took too long. socketserver calls this many times a second."""
        self.connections.end_late()

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        log.debug("the connection from %s broke: %r", client_address, sys.exception())

    def close(self) -> None:
        """Stop listening and close all connections."""
        self.shutdown()
        self.server_close()
        self.connections.end_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    server: ProxyServer
    disable_nagle_algorithm = True
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    _tunnel: ssl.SSLSocket | None = None
    _host = ""  # the AWS host that the tunnel leads to
    _head: Head

    def setup(self) -> None:
        super().setup()
        self._accepted = self.connection
        self._use(self.rfile)

    def _use(self, source: Any) -> None:
        self._head = Head(source)
        self.rfile = cast("BufferedIOBase", self._head)

    def handle_one_request(self) -> None:
        self._head.begin()
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        return True  # `_body` sends 100 Continue, once the request's key and length are known

    def do_CONNECT(self) -> None:
        target = re.fullmatch(r"([a-z0-9.-]{1,253}):443", self.path, re.ASCII)
        if self._tunnel is not None or target is None or not is_served(target[1]):
            self._send_line(403, "This is a sandbox's AWS: it only answers for the hosts of its services.")
            return
        self._host = target[1]
        self.connection.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        self._tunnel = self.server.authority.accept(self.connection, self._host)
        self.server.connections.replace(self._accepted, self._tunnel)
        self.connection = self._tunnel
        self.rfile.close()
        self._use(self._tunnel.makefile("rb"))
        self.wfile = _Writer(self._tunnel)  # type: ignore[assignment]  # the part that http.server uses
        self.close_connection = False

    def finish(self) -> None:
        self.server.connections.forget(self._accepted)
        super().finish()
        if self._tunnel is not None:
            self._tunnel.close()

    def _send_line(self, status: int, line: str) -> None:
        """Answer with one line and close the connection without reading more."""
        self.close_connection = True
        body = f"{line}\n".encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
        self._send(status, headers, body)

    def _serve(self) -> None:
        if self._tunnel is None:
            self._send_line(405, "This is a sandbox's AWS: use it as a proxy, with CONNECT.")
            return
        if self.headers.get_all("Host") not in ([self._host], [f"{self._host}:443"]):
            self._send_line(421, "The Host header differs from the host of CONNECT.")
            return
        if not self.path.startswith("/"):
            self._send_line(400, "The request's target must be a path.")
            return
        answer = self._answer_if_signed()
        if answer is None:
            self.close_connection = True
        else:
            self._send(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815  # http.server's names

    def _answer_if_signed(self) -> Answer | None:
        """Answer a signed request. The body of a request without a known key is not read."""
        signatures, connections = self.server.signatures, self.server.connections
        try:
            with self.server.lock:
                claim = signatures.claim(self.headers)
            connections.expect(self._accepted, BODY_SECONDS)
            body = self._body(BODY_LIMITS.get(claim.service, BODY_LIMIT))
            signatures.check(claim, self.command, f"https://{self._host}{self.path}", self.headers, body)
        except NotSignedError as error:
            return self._reject(unsigned(self._error_form(), error.code, error.message))
        except BodyError as error:
            log.warning("%s %s: %s", self.command, self._host, error)
            return self._reject(Failure(error.status, "RequestEntityTooLargeException", str(error)))
        connections.trust(self._accepted)
        return self._answer(self._host, self.path, body)

    def _reject(self, failure: Failure) -> Answer:
        self.close_connection = True
        status, headers, body = self._error_answer(self._host, failure)
        return status, {**headers, "Connection": "close"}, body

    def _body(self, limit: int) -> bytes:
        expects = self.headers.get("Expect", "").lower() == "100-continue"
        if expects and int(self.headers.get("Content-Length", "0") or 0) <= limit:
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return read_body(self._head, self.headers, limit)

    def _error_form(self) -> Form:
        """Return the form in which the request's service sends errors."""
        if self._is_json():
            return "json"
        return "s3" if "s3" in self._host.split(".") else "query"

    def _is_json(self) -> bool:
        in_json = "json" in self.headers.get("Content-Type", "") or self._host.startswith("lambda.")
        return bool(self.headers.get("X-Amz-Target")) or in_json

    def _answer(self, host: str, path: str, body: bytes) -> Answer | None:
        """Return the answer; None if a fault requires the connection to be closed instead."""
        try:
            route = self.server.router.find(host, path.split("?", 1)[0])
            if route is None:
                return self._refuse(host, f"The sandbox has no service at {host}{path.split('?', 1)[0]}")
            request = Request.from_primitives(self.command, f"https://{host}{path}", self.headers, body)
            return self._answer_with_faults(route, request)
        except CallFailed as error:
            return self._error_answer(host, error.failure)
        except HTTPException as error:
            described = error.get_body()
            return error.code or 400, dict(error.get_headers()), described.encode()
        except NotImplementedError as error:
            log.warning("%s %s: not implemented: %s", self.command, host, error)
            return self._refuse(host, f"The sandbox's AWS does not have this: {error}")
        except Exception as error:
            log.exception("%s %s%s failed unexpectedly", self.command, host, path)
            return self._refuse(host, f"The sandbox's AWS failed: {error!r}; see its log")

    def _answer_with_faults(self, route: Route, request: Request) -> Answer | None:
        """Answer the request; apply the fault that a test has set for this call, if there is one."""
        faults = self.server.for_tests.faults()
        if faults is None:
            return self._dispatch(route, request)
        return faults.answer_call(
            route.service,
            request,
            lambda: self._dispatch(route, request),
            lambda failure: self._error_answer(request.host, failure),
        )

    def _dispatch(self, route: Route, request: Request) -> Answer:
        with self.server.lock:
            self.server.for_tests.check(request)
            require_valid(route.service, request)
            answer = route.dispatch(request, request.raw_url, request.headers)
        self.server.after_request()
        status, headers, content = answer if isinstance(answer, tuple) else (200, {}, answer)
        body = content.encode() if isinstance(content, str) else content or b""
        status, body = corrected(route.service, request, int(status), body)
        return status, headers, body

    def _refuse(self, host: str, message: str) -> Answer:
        """Return an error with a status that SDKs do not retry."""
        return self._error_answer(host, Failure(400, "SandboxException", message))

    def _error_answer(self, host: str, failure: Failure) -> Answer:
        """Return an error in the form of the service's protocol."""
        status, code, message, details = failure
        if self._is_json():
            body = json.dumps({"__type": code, "message": message, "Message": message})
            headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amzn-Errortype": code}
            return status, headers, body.encode()
        elements = {"Code": code, "Message": message, **details}
        error = "".join(f"<{name}>{html.escape(text)}</{name}>" for name, text in elements.items())
        if host.startswith("ec2."):
            text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>0</RequestID></Response>"
        elif "s3" in host.split("."):
            text = f"<Error>{error}<RequestId>0</RequestId></Error>"
        else:
            sender = "Receiver" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Sender"
            text = (
                f"<ErrorResponse><Error><Type>{sender}</Type>{error}</Error><RequestId>0</RequestId>"
                "</ErrorResponse>"
            )
        return status, {"Content-Type": "text/xml"}, text.encode()

    def _send(self, status: int, headers: Mapping[str, Any], body: bytes) -> None:
        """Send an answer. Replace the headers that describe moto's framing by the ones of this connection."""
        lines = [f"HTTP/1.1 {status} {reasons.get(status, 'OK')}"]
        has_length = False
        for key, value in headers.items():
            name = str(key).lower()
            # moto's hop-by-hop headers do not describe this connection. Only if it closes they are sent,
            # because the client needs the proxy's `Connection: close`.
            if name in self._NOT_FORWARDED and not self.close_connection:
                continue
            text = value.decode() if isinstance(value, bytes) else str(value)
            # The length is counted below from the bytes that are sent. An answer to HEAD has none to count,
            # so moto's value remains: it is the size of the object.
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

    # "status" is not an HTTP header of AWS: moto puts its status code among the headers, too.
    _NOT_FORWARDED: ClassVar[frozenset[str]] = frozenset({"connection", "transfer-encoding", "status"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        log.debug(format, *args)


class _Writer:
    """The file object that http.server writes to; it sends everything at once."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self.closed = False

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""

    def close(self) -> None:
        self.closed = True
