"""The HTTPS proxy in AWS's place that answers Copilot while it packages."""

from __future__ import annotations

import json
import re
import secrets
import ssl
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from copilot_sandbox.certificates import CertificateAuthority
from copilot_sandbox.peers import is_own_user

from .answers import KEY, REGION, Answer, Call, Deployment, answer, error

_LARGEST = 1 << 20  # bytes of a request; Copilot's have a few hundred
_SECONDS = 30.0  # for a request to arrive
_CREDENTIAL = re.compile(r"Credential=(\w{16,128})/")
_HOST = re.compile(r"([a-z0-9-]+)(\.[a-z0-9-]+)*\.amazonaws\.com(:443)?")


class StandIn:
    """The server on 127.0.0.1. It knows the deployments that `variables` was called with."""

    def __init__(self, folder: Path) -> None:
        self._authority = CertificateAuthority(folder)
        self._server = _Server(self._authority)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="stand-in", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def variables(self, deployment: Deployment) -> dict[str, str]:
        """Return the variables that point a child process here; its key stands for the deployment."""
        key = f"AKIA{secrets.token_hex(16).upper()}"
        self._server.deployments[key] = deployment
        proxy = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "AWS_CA_BUNDLE": str(self._authority.certificate),
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, authority: CertificateAuthority) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority = authority
        self.deployments: dict[str, Deployment] = {}

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse connections of other users' programs."""
        del client_address
        return is_own_user(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a broken connection: Copilot reports what it did not get."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    disable_nagle_algorithm = True
    server: _Server
    _tunnel: ssl.SSLSocket | None = None

    def do_CONNECT(self) -> None:
        host = _HOST.fullmatch(self.path)
        if self._tunnel is not None or host is None:
            self.send_error(403, "only AWS is answered for")
            return
        self.connection.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        name = self.path.removesuffix(":443")
        self._tunnel = self.server.authority.accept(self.connection, name)
        self.connection = self._tunnel
        self.rfile = cast("BufferedIOBase", self._tunnel.makefile("rb"))
        self.close_connection = False

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if self._tunnel is None or not length.isdigit() or int(length) > _LARGEST:
            self.close_connection = True
            return
        self._send(self._answer(self.rfile.read(int(length))))

    def do_GET(self) -> None:
        if self._tunnel is None:
            self.close_connection = True
            return
        self._send(self._answer(b""))

    def _answer(self, body: bytes) -> Answer:
        given = _CREDENTIAL.search(self.headers.get("Authorization", ""))
        key = given[1] if given else ""
        call = _call(self.headers, self.path, body, key)
        deployment = self.server.deployments.get(key)
        if deployment is None:
            return error(call, 403, "UnrecognizedClientException", "this key is not known here")
        return answer(call, deployment)

    def _send(self, found: Answer) -> None:
        body = found.body.encode()
        head = (
            f"HTTP/1.1 {found.status} OK\r\nContent-Type: {found.type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.connection.sendall(head.encode() + body)

    def finish(self) -> None:
        super().finish()
        if self._tunnel is not None:
            self._tunnel.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Write no log."""


def _call(headers: Message, path: str, body: bytes, key: str) -> Call:
    """Return the call of a request in the JSON protocol, else in the query protocol."""
    service = str(headers.get("Host", "")).partition(".")[0]
    target = headers.get("X-Amz-Target")
    parameters: dict[str, str] = {}
    if target:
        operation = str(target).rpartition(".")[2]
        try:
            content = json.loads(body)
        except ValueError:
            content = {}
        parameters = {name: value for name, value in content.items() if isinstance(value, str)}
    else:
        parameters = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        operation = parameters.get("Action") or path.partition("?")[0]
    return Call(service, operation, {**parameters, KEY: key})
