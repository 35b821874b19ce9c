"""One request and its answer: finds the rule and the target, and relays the target's answer."""

from __future__ import annotations

import asyncio
import contextlib
import html
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import h11

from copilot_sandbox.load_balancer.connection import BLOCK, Peer, list_members, relay, tunnel, values
from copilot_sandbox.load_balancer.host_names import reachable
from copilot_sandbox.load_balancer.rules import find_rule, redirection

if TYPE_CHECKING:
    import socket
    from concurrent.futures import ThreadPoolExecutor

    from copilot_sandbox.agent.targets import Target, Targets
    from copilot_sandbox.model import LoadBalancer

CONNECT_TIMEOUT = 5.0
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
# The load balancer sets these itself, whatever the client sent.
FORWARDED = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port"}
# A Connection header must not remove these: they identify the request's host and its end.
NEVER_DROPPED = {b"host", b"content-length"}
_NO_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_ERROR_LENGTH = 200  # characters of h11's error message

Headers = list[tuple[bytes, bytes]]


class Backend(Protocol):
    """The load balancer's calls of the task agent."""

    targets: Targets

    def connect(self, address: str, port: int, timeout: float) -> socket.socket: ...

    def explain(self, target_group_arn: str) -> str: ...


class RefusedError(Exception):
    """A request that the load balancer answers itself, with a status, a message and a server name."""

    def __init__(self, status: int, message: str, server: bytes = b"sandbox-load-balancer") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.server = server


class UpstreamError(Exception):
    """The target closed the connection early, or did not send HTTP."""


class Exchange:
    """The answer to one request. `run` reads the request and sends the answer."""

    def __init__(self, backend: Backend, pool: ThreadPoolExecutor, client: Peer) -> None:
        self._backend = backend
        self._pool = pool
        self._client = client

    async def run(self, balancer: LoadBalancer | None, *, own: bool = True) -> bool:
        """Return True if the client may send another request on this connection.

        `own` is True if the client is a program of the user who started the sandbox.
        """
        request: h11.Request | None = None
        try:
            if not own:
                raise RefusedError(403, "this sandbox belongs to another user")  # noqa: TRY301 -- as below
            request = await self._read_request()
            if request is None:
                return False
            if balancer is None:
                raise RefusedError(503, "the load balancer was deleted")  # noqa: TRY301 -- one way to answer
            await self._apply_rules(balancer, request)
        except RefusedError as refusal:
            await self._answer(request, refusal)
        except UpstreamError as error:
            await self._answer(request, RefusedError(502, f"the service closed the connection: {error}"))
        except TimeoutError:
            if request is not None:
                seconds = f"{self._client.idle_timeout:g} s"
                await self._answer(request, RefusedError(504, f"the service did not answer in {seconds}"))
        http = self._client.http
        if not http.our_state is http.their_state is h11.DONE:
            return False
        http.start_next_cycle()
        return True

    async def _read_request(self) -> h11.Request | None:
        """Read the next request's head. Return None if the client has closed. Raises RefusedError."""
        async with asyncio.timeout(self._client.idle_timeout):
            request = await self._read_event()
        if not isinstance(request, h11.Request):
            return None
        if request.method == b"CONNECT":
            raise RefusedError(405, "CONNECT is for proxies")
        if request.target.startswith(b"/") or request.target == b"*":
            return request
        parts = urlsplit(request.target.decode("latin-1"))
        if parts.scheme not in {"http", "https"}:
            raise RefusedError(400, "this is not an HTTP/1.1 request")
        if parts.netloc.lower() != _host(request).lower():
            raise RefusedError(400, "the address and the Host header name different hosts")
        return h11.Request(
            method=request.method,
            target=parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl(),
            headers=request.headers,
            http_version=request.http_version,
        )

    async def _read_event(self) -> object:
        """Read the client's next event. Raises RefusedError if it breaks HTTP."""
        try:
            return await self._client.next_event()
        except h11.RemoteProtocolError as error:
            raise _refusal(error) from error

    async def _apply_rules(self, balancer: LoadBalancer, request: h11.Request) -> None:
        client, host, path = self._source(), _host(request), _target(request).partition("?")[0]
        rules = reachable(host, balancer.port, balancer.rules) if host else balancer.rules
        if rules is None:
            raise RefusedError(
                421, f"the Host is not a name of this load balancer: open http://localhost:{balancer.port}/"
            )
        rule = find_rule(rules, host, path, client)
        if rule is None:
            raise RefusedError(404, "no rule of the load balancer matches this host and path")
        if rule.redirect_to is not None:
            await self._redirect(redirection(rule.redirect_to, host, _target(request), balancer.port))
            return
        if rule.fixed_status is not None:
            raise RefusedError(rule.fixed_status, "a fixed response of the load balancer")
        tried: set[int] = set()
        while (target := self._backend.targets.pick(rule.target_group_arns)) is not None:
            try:
                upstream = await self._connect(target)
            except OSError:
                if id(target) in tried:
                    raise UpstreamError("its port accepts no connection") from None
                tried.add(id(target))
            else:
                await self._forward(request, balancer.port, upstream)
                return
            finally:
                self._backend.targets.release(target)
        if (closed := find_rule(rules, host, path, None)) is not rule and closed is not None:
            # AWS gives the same answer without the message, because its default action has no target. The
            # header lets a deploy distinguish it from an answer of the service.
            raise RefusedError(
                503,
                f"{client} is not one of the sources that the service accepts, {', '.join(closed.sources)}: "
                "its manifest sets them with http.allowed_source_ips",
                b"awselb/2.0",
            )
        reasons = [self._backend.explain(arn) for arn in rule.target_group_arns]
        raise RefusedError(503, "; ".join(reasons) or "no target group")

    def _source(self) -> str:
        """Return the client's address as Copilot's load balancers see it: as IPv4, which is all they have."""
        peer: str = self._client.writer.get_extra_info("peername")[0]
        return "127.0.0.1" if peer == "::1" else peer

    async def _connect(self, target: Target) -> Peer:
        connection = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._backend.connect, target.address, target.port, CONNECT_TIMEOUT
        )
        reader, writer = await asyncio.open_connection(sock=connection)
        return Peer(h11.CLIENT, reader, writer, self._client.idle_timeout)

    async def _forward(self, request: h11.Request, port: int, upstream: Peer) -> None:
        sending: asyncio.Task[None] | None = None
        try:
            await upstream.send(self._forwarded(request, port))
            sending = asyncio.create_task(self._send_body(upstream))
            await self._relay_answer(request, upstream, sending)
        except (ConnectionError, h11.RemoteProtocolError) as error:
            if self._client.reader.at_eof():
                raise ConnectionError("the client has closed the connection") from error
            if isinstance(error, ConnectionError) or upstream.http.trailing_data[1]:
                raise UpstreamError("it closed the connection before the end of its answer") from error
            raise UpstreamError(f"its answer is not HTTP/1.1: {str(error)[:_ERROR_LENGTH]}") from error
        finally:
            if sending is not None:
                sending.cancel()
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await sending
            upstream.writer.close()

    def _forwarded(self, request: h11.Request, port: int) -> h11.Request:
        """Return the request for the target: without hop-by-hop headers, with X-Forwarded-* added."""
        headers = [(name, value) for name, value in _end_to_end(request) if name.lower() not in FORWARDED]
        peer = self._client.writer.get_extra_info("peername")[0].encode()
        headers += [
            (b"X-Forwarded-For", b", ".join([*values(request, b"x-forwarded-for"), peer])),
            (b"X-Forwarded-Proto", b"http"),
            (b"X-Forwarded-Port", str(port).encode()),
        ]
        if not values(request, b"host"):
            headers.append((b"Host", f"localhost:{port}".encode()))  # an HTTP/1.0 client sent none
        if values(request, b"transfer-encoding"):
            headers.append((b"Transfer-Encoding", b"chunked"))
        if protocol := _upgrade(request):
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", protocol)]
        else:
            headers.append((b"Connection", b"close"))
        return h11.Request(method=request.method, target=request.target, headers=headers)

    async def _send_body(self, upstream: Peer) -> None:
        try:
            await relay(self._client, upstream)
        except h11.RemoteProtocolError as error:
            raise _refusal(error) from error
        except ConnectionError:
            pass  # a target may answer before it has read the body, so a send that fails is not an error

    async def _relay_answer(self, request: h11.Request, upstream: Peer, sending: asyncio.Task[None]) -> None:
        """Stream the target's answer to the client."""
        client = self._client
        while isinstance(answer := await _read_answer(upstream, sending), h11.InformationalResponse):
            if answer.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                await client.send(answer)
                await tunnel(client, upstream)
                return
            if request.http_version == b"1.1":
                await client.send(answer)  # 100 Continue and the like
        headers = _end_to_end(answer)
        if client.http.their_state in {h11.SEND_BODY, h11.ERROR}:
            headers.append((b"Connection", b"close"))  # the rest of its body must not become a request
        await client.send(h11.Response(status_code=answer.status_code, reason=answer.reason, headers=headers))
        await relay(upstream, client)

    async def _redirect(self, location: str) -> None:
        headers = [
            (b"Location", location.encode("latin-1", "replace")),
            (b"Content-Length", b"0"),
            (b"Connection", b"close"),
        ]
        await self._client.send(
            h11.Response(status_code=301, reason=b"Moved Permanently", headers=headers), h11.EndOfMessage()
        )

    async def _answer(self, request: h11.Request | None, refusal: RefusedError) -> None:
        """Send a short answer, unless one has started: a page for a browser, else a line of text."""
        if self._client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        status, message = refusal.status, refusal.message
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Response"
        if request and b"text/html" in b",".join(values(request, b"accept")):
            kind = b"text/html; charset=utf-8"
            waits = status == HTTPStatus.SERVICE_UNAVAILABLE
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
        silent = status in _NO_BODY or (request is not None and request.method == b"HEAD")
        await self._client.send(
            h11.Response(status_code=status, reason=phrase.encode(), headers=headers),
            *([] if silent else [h11.Data(body)]),
            h11.EndOfMessage(),
        )
        await self._drain()

    async def _drain(self) -> None:
        """Read for a moment what the client still sends; closing at once would discard the answer."""
        with contextlib.suppress(OSError, TimeoutError):
            if self._client.writer.can_write_eof():
                self._client.writer.write_eof()
            async with asyncio.timeout(0.5):
                while await self._client.reader.read(BLOCK):
                    pass


async def _read_answer(
    upstream: Peer, sending: asyncio.Task[None]
) -> h11.InformationalResponse | h11.Response:
    """Return the head of the target's next answer. Raises TimeoutError, and errors of `sending`.

    The timeout starts when the whole request is sent, because an upload may take longer.
    """
    reading = asyncio.ensure_future(upstream.next_event(without_timeout=True))
    try:
        await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            sending.result()  # raises the error in the request's body
        # h11 returns no other event first.
        return cast("h11.Response", await asyncio.wait_for(reading, upstream.idle_timeout))
    finally:
        reading.cancel()


def _refusal(error: h11.RemoteProtocolError) -> RefusedError:
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return RefusedError(431, "the request's head is too large")
    return RefusedError(400, f"this is not an HTTP/1.1 request: {str(error)[:_ERROR_LENGTH]}")


def _host(request: h11.Request) -> str:
    return b"".join(values(request, b"host")).decode("latin-1")


def _target(request: h11.Request) -> str:
    return request.target.decode("ascii")


def _upgrade(request: h11.Request) -> bytes | None:
    """Return the protocol that the client wants to switch to, for example `websocket`."""
    wanted = values(request, b"upgrade")
    return wanted[0] if wanted and b"upgrade" in list_members(request, b"connection") else None


def _end_to_end(message: h11.Request | h11.Response) -> Headers:
    """Return the headers to forward, without hop-by-hop headers."""
    dropped = (HOP_BY_HOP | list_members(message, b"connection")) - NEVER_DROPPED
    return [(name, value) for name, value in message.headers.raw_items() if name.lower() not in dropped]
