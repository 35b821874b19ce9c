"""Plays the application load balancers: routes HTTP on loopback ports to the tasks that are healthy."""

from __future__ import annotations

import asyncio
import contextlib
import html
import http
import ipaddress
import logging
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from scripts.sandbox.host_names import reachable
from scripts.sandbox.peers import is_ours

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from scripts.sandbox.agent.targets import Target, Targets
    from scripts.sandbox.model import ControlPlane, LoadBalancer, Rule

logger = logging.getLogger(__name__)

# Quotas of application load balancers: a request line and one header 16 KiB, all headers 64 KiB.
LINE_LIMIT = 16 * 1024
HEAD_LIMIT = 64 * 1024
FRAMING_LIMIT = 1024  # a chunk's size with its extensions, or a trailer
BLOCK = 64 * 1024
LOOK_INTERVAL = 0.2  # seconds between looks for load balancers that came or went
RETRY_INTERVAL = 1.0  # seconds between tries to get a port that something else holds
CONNECT_TIMEOUT = 5.0
_START_SECONDS, _STOP_SECONDS = 10.0, 5.0
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
SWITCHING_PROTOCOLS = 101
FIRST_FINAL_STATUS = 200

Headers = list[tuple[bytes, bytes]]


class Backend(Protocol):
    """What the gateway asks of the task agent."""

    targets: Targets

    def connect(self, address: str, port: int, timeout: float) -> socket.socket: ...

    def explain(self, target_group_arn: str) -> str: ...


class RefusedError(Exception):
    """A request the gateway answers itself: status, what to tell, and as whom."""

    def __init__(self, status: int, message: str, server: bytes = b"sandbox-gateway") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.server = server


class UpstreamError(Exception):
    """The target broke off, or spoke no HTTP."""


class Body(NamedTuple):
    """How a message's body is framed."""

    chunked: bool
    length: int | None  # None where it is chunked, or lasts until the connection closes


@dataclass
class Request:
    method: bytes
    target: bytes
    minor: int
    headers: Headers
    body: Body

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def host(self) -> str:
        return b"".join(self.values(b"host")[:1]).decode("latin-1")

    @property
    def path(self) -> str:
        return self.target.decode("latin-1").partition("?")[0]

    @property
    def upgrade(self) -> bytes | None:
        """The protocol it wants to switch to, say `websocket`."""
        wanted = self.values(b"upgrade")
        return wanted[0] if wanted and b"upgrade" in _listed(self.values(b"connection")) else None

    @property
    def keep_alive(self) -> bool:
        options = _listed(self.values(b"connection"))
        return b"close" not in options and (self.minor == 1 or b"keep-alive" in options)


class Gateway:
    """A listener for each load balancer, in a thread with an event loop of its own.

    `idle_timeout` is in seconds, as on AWS for both sides: a client that says nothing is hung up on, a
    target that says nothing gets its client a 504.
    """

    def __init__(self, control_plane: ControlPlane, backend: Backend, *, idle_timeout: float = 60) -> None:
        self._control_plane = control_plane
        self._backend = backend
        self._idle_timeout = idle_timeout
        self._balancers: dict[int, LoadBalancer] = {}
        self._servers: dict[int, list[asyncio.Server]] = {}
        self._retry_at: dict[int, float] = {}
        self._connections: dict[asyncio.Task[None], int] = {}
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="gateway connect")
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="gateway", daemon=True)

    def start(self) -> None:
        """Returns once the load balancers that exist now are listened for."""
        self._thread.start()
        self._ready.wait(_START_SECONDS)

    @property
    def lives(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close all listeners and connections."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: the thread had ended
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        while not self._stopping.is_set():
            try:
                await self._look()
            except Exception:
                logger.exception("the gateway could not look for load balancers")
            self._ready.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_INTERVAL)
        for port in list(self._servers):
            await self._close(port)

    async def _look(self) -> None:
        """Open what is new, close what is gone."""
        balancers = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._control_plane.load_balancers
        )
        self._balancers = {each.port: each for each in balancers}
        for port in [port for port in self._servers if port not in self._balancers]:
            await self._close(port)
        for port, balancer in self._balancers.items():
            if port not in self._servers and time.monotonic() >= self._retry_at.get(port, 0):
                await self._open(port, balancer)

    async def _open(self, port: int, balancer: LoadBalancer) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(port, reader, writer)

        try:
            server = await asyncio.start_server(accept, "127.0.0.1", port, limit=HEAD_LIMIT)
        except OSError as error:
            if port not in self._retry_at:
                logger.warning(
                    "port %d, which plays the load balancer of %s, can't be had (%s): end what holds it; "
                    "the sandbox tries again each second",
                    port,
                    balancer.environment,
                    os.strerror(error.errno or 0),
                )
            self._retry_at[port] = time.monotonic() + RETRY_INTERVAL
            return
        self._retry_at.pop(port, None)
        self._servers[port] = [server]
        # `localhost` may mean ::1 first; where the system has no IPv6, it does not.
        with contextlib.suppress(OSError):
            self._servers[port].append(await asyncio.start_server(accept, "::1", port, limit=HEAD_LIMIT))

    async def _close(self, port: int) -> None:
        for server in self._servers.pop(port):
            server.close()
        connections = [task for task, at in self._connections.items() if at == port]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, request after request."""
        task = asyncio.current_task()
        if task is not None:
            self._connections[task] = port
        try:
            ours = await asyncio.get_running_loop().run_in_executor(
                self._pool, is_ours, writer.get_extra_info("socket")
            )
            while await Exchange(self._backend, self._idle_timeout, self._pool, reader, writer).run(
                self._balancers.get(port), ours=ours
            ):
                pass
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone or idle: nobody to tell
        except asyncio.CancelledError:
            pass  # the listener is gone
        except Exception:
            logger.exception("the gateway failed to serve a request on port %d", port)
        finally:
            if task is not None:
                self._connections.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


class Exchange:
    """One request and its answer."""

    def __init__(
        self,
        backend: Backend,
        idle_timeout: float,
        pool: ThreadPoolExecutor,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._backend = backend
        self._idle_timeout = idle_timeout
        self._pool = pool
        self._reader = reader
        self._writer = writer
        self._answered = False  # the client has seen part of an answer

    async def run(self, balancer: LoadBalancer | None, *, ours: bool = True) -> bool:
        """Whether the client may send another request on this connection; `ours` says whose program it is."""
        request: Request | None = None
        try:
            if not ours:
                raise RefusedError(403, "this sandbox is of another user of this machine")  # noqa: TRY301 -- as below
            request = await self._read_request()
            if request is None:
                return False
            if balancer is None:
                raise RefusedError(503, "the load balancer is gone")  # noqa: TRY301 -- one way to answer
            return await self._act(balancer, request)
        except RefusedError as refusal:
            if not self._answered:
                await self._answer(request, refusal)
            return False
        except UpstreamError as error:
            if not self._answered:
                await self._answer(request, RefusedError(502, f"the service broke off: {error}"))
            return False
        except TimeoutError:
            if request is not None and not self._answered:
                late = RefusedError(504, f"the service did not answer in {self._idle_timeout:g} s")
                await self._answer(request, late)
            return False

    async def _act(self, balancer: LoadBalancer, request: Request) -> bool:
        client = self._client()
        rules = reachable(request.host, balancer.port, balancer.rules) if request.host else balancer.rules
        if rules is None:
            raise RefusedError(
                421, f"the Host is no name of this load balancer's: open http://localhost:{balancer.port}/"
            )
        rule = find_rule(rules, request, client)
        if rule is None:
            raise RefusedError(404, "no rule of the load balancer matches this host and path")
        if rule.redirect_to is not None:
            await self._redirect(redirection(rule.redirect_to, request, balancer.port))
            return False
        if rule.fixed_status is not None:
            raise RefusedError(rule.fixed_status, "a fixed response of the load balancer")
        tried: set[int] = set()
        while (target := self._backend.targets.pick(rule.target_group_arns)) is not None:
            try:
                upstream = await self._connect(target)
            except OSError:
                if id(target) in tried:
                    raise UpstreamError("its port takes no connection") from None
                tried.add(id(target))
            else:
                return await self._forward(request, balancer.port, *upstream)
            finally:
                self._backend.targets.release(target)
        if (closed := find_rule(rules, request, None)) is not rule and closed is not None:
            # AWS answers so too, without the words: its default action leads to no target. The header lets
            # a deploy tell it from an answer of the service.
            raise RefusedError(
                503,
                f"{client} is none of the sources that the service lets in, {', '.join(closed.sources)}: "
                "they are its manifest's http.allowed_source_ips",
                b"awselb/2.0",
            )
        reasons = [self._backend.explain(arn) for arn in rule.target_group_arns]
        raise RefusedError(503, "; ".join(reasons) or "no target group")

    def _client(self) -> str:
        """The client's address, as a load balancer of Copilot's sees it: those have IPv4 addresses only."""
        peer: str = self._writer.get_extra_info("peername")[0]
        return "127.0.0.1" if peer == "::1" else peer

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._backend.connect, target.address, target.port, CONNECT_TIMEOUT
        )
        return await asyncio.open_connection(sock=connection, limit=HEAD_LIMIT)

    async def _read_request(self) -> Request | None:
        """The next request's head; None where the client has hung up. Raises RefusedError."""
        too_big = RefusedError(431, "the request's head is too big")
        lines = await asyncio.wait_for(read_head(self._reader, too_big), self._idle_timeout)
        if lines is None:
            return None
        match = REQUEST_LINE.fullmatch(lines[0])
        if match is None:
            raise RefusedError(400, "this is no HTTP/1.1 request")
        headers = parse_headers(lines[1:], lambda what: RefusedError(400, what))
        body = frame(headers, lambda what: RefusedError(400, what))
        minor = int(match[3])
        request = Request(match[1], match[2], minor, headers, body or Body(chunked=False, length=0))
        if len(request.values(b"host")) > 1 or (minor == 1 and not request.values(b"host")):
            raise RefusedError(400, "a request has one Host header")
        if request.method == b"CONNECT":
            raise RefusedError(405, "CONNECT is for proxies")
        if not request.target.startswith(b"/") and request.target != b"*":
            parts = urlsplit(request.target.decode("latin-1"))
            if parts.scheme not in {"http", "https"}:
                raise RefusedError(400, "this is no HTTP/1.1 request")
            if parts.netloc.lower() != request.host.lower():
                raise RefusedError(400, "the address and the Host header name two hosts")
            request.target = (parts.path or "/").encode("latin-1") + (
                b"?" + parts.query.encode("latin-1") if parts.query else b""
            )
        return request

    async def _forward(
        self, request: Request, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        sending: asyncio.Task[None] | None = None
        try:
            writer.write(self._upstream_head(request, port))
            sending = asyncio.create_task(self._send_body(request, writer))
            return await self._return(request, reader, writer, sending)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            if self._reader.at_eof():
                raise
            raise UpstreamError("it closed the connection in the middle") from error
        finally:
            if sending is not None:
                sending.cancel()
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await sending
            writer.close()

    def _upstream_head(self, request: Request, port: int) -> bytes:
        """The request as the target sees it: hop-by-hop headers replaced, X-Forwarded-* added."""
        dropped = HOP_BY_HOP | _listed(request.values(b"connection"))
        dropped |= {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"content-length"}
        dropped -= {b"host"}
        headers = [(name, value) for name, value in request.headers if name.lower() not in dropped]
        peer = self._writer.get_extra_info("peername")[0].encode()
        chain = [*request.values(b"x-forwarded-for"), peer]
        headers += [
            (b"X-Forwarded-For", b", ".join(chain)),
            (b"X-Forwarded-Proto", b"http"),
            (b"X-Forwarded-Port", str(port).encode()),
        ]
        if not request.values(b"host"):
            headers.append((b"Host", f"localhost:{port}".encode()))  # a client of HTTP/1.0
        if request.body.chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        elif request.values(b"content-length"):
            headers.append((b"Content-Length", str(request.body.length).encode()))
        upgrade = request.upgrade
        headers += (
            [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)] if upgrade else [(b"Connection", b"close")]
        )
        return head(b"%s %s HTTP/1.1" % (request.method, request.target), headers)

    async def _send_body(self, request: Request, writer: asyncio.StreamWriter) -> None:
        # A target may answer before it has read all: what can't be sent is no error of its own.
        broken = RefusedError(400, "a broken chunked body")
        with contextlib.suppress(ConnectionError):
            await relay(self._reader, writer, request.body, self._idle_timeout, broken)

    async def _return(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sending: asyncio.Task[None],
    ) -> bool:
        """The target's answer, streamed to the client."""
        while True:
            status, headers, lines = await self._read_answer(reader, sending)
            if status >= FIRST_FINAL_STATUS or status == SWITCHING_PROTOCOLS:
                break
            if request.minor == 1:
                self._writer.write(head(lines[0], headers))  # 100 Continue and the like
        if status == SWITCHING_PROTOCOLS:
            if request.upgrade is None:
                raise UpstreamError("it switched protocols unasked")
            self._answered = True
            self._writer.write(head(lines[0], headers))
            await tunnel((self._reader, writer), (reader, self._writer))
            return False
        body = frame(headers, UpstreamError)
        if request.method == b"HEAD" or status in {204, 304}:
            kept = [(name, value) for name, value in headers if name.lower() == b"content-length"]
            body = Body(chunked=False, length=0)
        elif body is None:
            kept, body = [], Body(chunked=False, length=None)
        elif body.chunked:
            kept = [(b"Transfer-Encoding", b"chunked")] if request.minor == 1 else []
        else:
            kept = [(b"Content-Length", str(body.length).encode())]
        options = _listed([value for name, value in headers if name.lower() == b"connection"])
        dropped = HOP_BY_HOP | options | {b"content-length"}
        headers = [(name, value) for name, value in headers if name.lower() not in dropped]
        endless = body.length is None and not (body.chunked and request.minor == 1)
        again = request.keep_alive and sending.done() and not endless
        self._answered = True
        headers += [*kept, (b"Connection", b"keep-alive" if again else b"close")]
        self._writer.write(head(b"HTTP/1.1" + lines[0][8:], headers))
        broken = UpstreamError("a broken chunked body")
        unwrap = body.chunked and request.minor == 0
        await relay(reader, self._writer, body, self._idle_timeout, broken, unwrap=unwrap)
        return again

    async def _read_answer(
        self, reader: asyncio.StreamReader, sending: asyncio.Task[None]
    ) -> tuple[int, Headers, list[bytes]]:
        reading = asyncio.ensure_future(read_head(reader, UpstreamError("its answer's head is too big")))
        try:
            while not reading.done():
                # Time runs while the target has all it needs; an upload may take longer.
                both = {reading} if sending.done() else {reading, sending}
                timeout = self._idle_timeout if sending.done() else None
                done, _ = await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    raise TimeoutError
                if sending in done and not sending.cancelled() and sending.exception() is not None:
                    raise sending.exception() or UpstreamError("")
        finally:
            reading.cancel()
        lines = reading.result()
        if lines is None:
            raise UpstreamError("it closed the connection without an answer")
        match = STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise UpstreamError("its answer is no HTTP")
        return int(match[1]), parse_headers(lines[1:], UpstreamError), lines

    async def _redirect(self, location: str) -> None:
        self._answered = True
        headers = [(b"Location", location.encode("latin-1", "replace")), (b"Content-Length", b"0")]
        self._writer.write(head(b"HTTP/1.1 301 Moved Permanently", [*headers, (b"Connection", b"close")]))
        await self._writer.drain()

    async def _answer(self, request: Request | None, refusal: RefusedError) -> None:
        """The gateway's own short answer: a page for a browser, else a line of text."""
        self._answered = True
        status, message = refusal.status, refusal.message
        try:
            phrase = http.HTTPStatus(status).phrase
        except ValueError:
            phrase = "Response"
        accept = b",".join(request.values(b"accept")) if request else b""
        if b"text/html" in accept:
            kind = b"text/html; charset=utf-8"
            waits = status == http.HTTPStatus.SERVICE_UNAVAILABLE
            refresh = '<meta http-equiv="refresh" content="2">' if waits else ""
            text = (
                f"<!doctype html><html lang=en><head>{refresh}<title>{status} {phrase}</title></head>"
                f"<body><h1>{status} {phrase}</h1><p>{html.escape(message)}</p></body></html>\n"
            )
        else:
            kind, text = b"text/plain; charset=utf-8", f"{status} {phrase}: {message}\n"
        body = text.encode()
        headers = [
            (b"Server", refusal.server),
            (b"Content-Type", kind),
            (b"Content-Length", str(len(body)).encode()),
            (b"Cache-Control", b"no-store"),
            (b"Connection", b"close"),
        ]
        self._writer.write(head(f"HTTP/1.1 {status} {phrase}".encode(), headers))
        if request is None or request.method != b"HEAD":
            self._writer.write(body)
        await self._writer.drain()
        await self._let_read()

    async def _let_read(self) -> None:
        """Take a little of what is still being sent, or closing would cost the client the answer."""
        with contextlib.suppress(OSError, TimeoutError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(0.5):
                while await self._reader.read(BLOCK):
                    pass


def find_rule(rules: Sequence[Rule], request: Request, client: str | None) -> Rule | None:
    """The first rule, by priority, whose conditions all match; a `client` of None is of every source.

    As on AWS, X-Forwarded-For is not looked at.
    """
    host = urlsplit(f"//{request.host}").hostname or "" if request.host else ""
    for rule in sorted(rules, key=lambda rule: rule.priority):
        hosts = not rule.hosts or any(wild(each.lower()).fullmatch(host.lower()) for each in rule.hosts)
        paths = not rule.paths or any(wild(each).fullmatch(request.path) for each in rule.paths)
        if hosts and paths and (client is None or not rule.sources or _within(client, rule.sources)):
            return rule
    return None


def _within(client: str, networks: Sequence[str]) -> bool:
    address = ipaddress.ip_address(client)
    return any(address in ipaddress.ip_network(each, strict=False) for each in networks)


@lru_cache(maxsize=256)
def wild(pattern: str) -> re.Pattern[str]:
    """A load balancer's pattern: `*` is any text, `?` any one character."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def redirection(template: str, request: Request, port: int) -> str:
    """Where a redirect leads: a URL in which `#{host}`, `#{path}`, `#{query}` and the like stand for ours."""
    path, _, query = request.target.decode("latin-1").partition("?")
    host = request.host.rpartition(":")[0] if re.search(r":\d+$", request.host) else request.host
    known = {"host": host, "path": path.lstrip("/"), "port": str(port), "query": query, "protocol": "http"}
    located = re.sub(r"#\{(\w+)\}", lambda match: known.get(match[1], match[0]), template)
    return located.removesuffix("?").replace("\r", "").replace("\n", "")


def head(first: bytes, headers: Headers) -> bytes:
    return b"\r\n".join([first, *(name + b": " + value for name, value in headers), b"", b""])


async def read_head(reader: asyncio.StreamReader, too_big: Exception) -> list[bytes] | None:
    """The lines of a message's head; None where the connection was closed before one began."""
    try:
        block = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise too_big from None
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise
        return None
    lines = block[:-4].split(b"\r\n")
    while lines and not lines[0]:
        lines.pop(0)  # RFC 9112, 2.2: empty lines before a request
    if any(len(line) > LINE_LIMIT for line in lines):
        raise too_big
    return lines or [b""]


def parse_headers(lines: list[bytes], wrong: Callable[[str], Exception]) -> Headers:
    """Names and values; what two parsers might read differently is refused."""
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name) or any(char in value for char in b"\r\n\0"):
            raise wrong("a malformed header")
        headers.append((name, value.strip(b" \t")))
    return headers


def frame(headers: Headers, wrong: Callable[[str], Exception]) -> Body | None:
    """How the body is framed; None where the headers don't say. RFC 9112, 6.3, without its leniences."""
    lengths = {value for name, value in headers if name.lower() == b"content-length"}
    encodings = [value.lower() for name, value in headers if name.lower() == b"transfer-encoding"]
    if encodings:
        if lengths or encodings != [b"chunked"]:
            raise wrong("an ambiguous or unknown framing of the body")
        return Body(chunked=True, length=None)
    if not lengths:
        return None
    (length, *others) = lengths
    if others or not re.fullmatch(rb"[0-9]{1,18}", length):
        raise wrong("a malformed Content-Length")
    return Body(chunked=False, length=int(length))


async def relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    body: Body,
    idle_timeout: float,
    broken: Exception,
    *,
    unwrap: bool = False,
) -> None:
    """Pass a body on as it comes; `unwrap` takes it out of its chunks. Raises TimeoutError, `broken`."""
    if not body.chunked:
        await _copy(reader, writer, body.length, idle_timeout)
        return
    while True:
        size = re.fullmatch(
            rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?", await _line(reader, idle_timeout, broken)
        )
        if size is None:
            raise broken
        length = int(size[1], 16)
        if length == 0:
            break
        if not unwrap:
            writer.write(b"%x\r\n" % length)
        await _copy(reader, writer, length, idle_timeout)
        if await _line(reader, idle_timeout, broken):
            raise broken
        if not unwrap:
            writer.write(b"\r\n")
    # Trailers are dropped: no one here needs them, and they carry surprises.
    while await _line(reader, idle_timeout, broken):
        pass
    if not unwrap:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _line(reader: asyncio.StreamReader, idle_timeout: float, broken: Exception) -> bytes:
    """A line of a chunked body's framing, without its end."""
    try:
        line = await asyncio.wait_for(reader.readuntil(b"\r\n"), idle_timeout)
    except asyncio.LimitOverrunError:
        raise broken from None
    if len(line) > FRAMING_LIMIT:
        raise broken
    return line[:-2]


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None, idle_timeout: float
) -> None:
    """`length` bytes, or all until the end where it is None."""
    left = length
    while left is None or left > 0:
        block = await asyncio.wait_for(reader.read(BLOCK if left is None else min(BLOCK, left)), idle_timeout)
        if not block:
            if left is None:
                break
            raise asyncio.IncompleteReadError(b"", left)
        writer.write(block)
        await writer.drain()
        left = None if left is None else left - len(block)
    await writer.drain()


async def tunnel(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Bytes in both directions until one end closes."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while block := await reader.read(BLOCK):
                writer.write(block)
                await writer.drain()

    running = [asyncio.create_task(pass_on(reader, writer)) for reader, writer in ways]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()


def _listed(values: list[bytes]) -> set[bytes]:
    """The members of comma-separated header values, in lower case."""
    return {part.strip().lower() for value in values for part in value.split(b",")} - {b""}
