"""What a neighbour can try: another user of the machine, a web page in the user's browser, a container."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import ssl
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from copilot_sandbox.control_plane import ControlPlaneServer

HOST = "cloudformation.us-east-1.amazonaws.com"
CREATE = (
    "Action=CreateStack&Version=2010-05-15&StackName=owned&TemplateBody="
    "%7B%22Resources%22%3A%7B%22G%22%3A%7B%22Type%22%3A%22AWS%3A%3ALogs%3A%3ALogGroup%22%7D%7D%7D"
)
FORM = "application/x-www-form-urlencoded"


@dataclass
class Target:
    """A running embedded AWS, as who stands outside knows it, and the key that he does not know."""

    port: int
    ca: Path
    key: str
    secret: str

    def talk(self, sent: bytes) -> bytes:
        """All that is answered to these bytes, until the connection ends or is silent for a second."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            return heard(connection, sent)

    def tunnel(self, sent: bytes, host: str = HOST, name: str | None = HOST) -> bytes:
        """The same inside of the TLS that CONNECT leads to."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
            head = connection.recv(4096)
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                return head
            context = ssl.create_default_context(cafile=str(self.ca))
            context.check_hostname = False
            with context.wrap_socket(connection, server_hostname=name) as inside:
                return heard(inside, sent)

    def signed(
        self, body: str = CREATE, *, key: str = "", secret: str = "", token: str = ""
    ) -> dict[str, str]:
        """The headers of a call that is signed with this key, by default the right one."""
        request = AWSRequest("POST", f"https://{HOST}/", data=body, headers={"Content-Type": FORM})
        credentials = Credentials(key or self.key, secret or self.secret, token or None)
        SigV4Auth(credentials, "cloudformation", "us-east-1").add_auth(request)
        return {"Host": HOST, **{name: str(value) for name, value in request.headers.items()}}

    def presigned(self) -> str:
        request = AWSRequest("GET", f"https://{HOST}/?{CREATE}")
        SigV4QueryAuth(Credentials(self.key, self.secret), "cloudformation", "us-east-1").add_auth(request)
        return str(request.url).removeprefix(f"https://{HOST}")


def heard(connection: socket.socket, sent: bytes) -> bytes:
    connection.settimeout(1)
    answer = b""
    with contextlib.suppress(OSError):
        connection.sendall(sent)
        while block := connection.recv(65536):
            answer += block
    return answer


def post(headers: dict[str, str], body: str = CREATE, target: str = "/") -> bytes:
    framed = {"Content-Length", "Transfer-Encoding"} & headers.keys()
    length = {} if framed else {"Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in {"Host": HOST, **length, **headers}.items()]
    return "\r\n".join([f"POST {target} HTTP/1.1", *lines, "", body]).encode()


def as_neighbour(attack: Callable[[], Any]) -> Any:
    """What an attack gets when it is run by another user of this machine: for root's tests only."""
    other = pwd.getpwnam("nobody")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.setgroups([])
            os.setgid(other.pw_gid)
            os.setuid(other.pw_uid)
            result = {"got": attack()}
        except (OSError, ssl.SSLError) as error:
            result = {"got": None, "refused": type(error).__name__}
        except BaseException:  # noqa: BLE001 - the child must not go on as another pytest
            result = {"broke": traceback.format_exc()}
        os.write(writer, json.dumps(result, default=repr).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        found = json.loads(file.read())
    os.waitpid(child, 0)
    assert "broke" not in found, found["broke"]
    return found["got"]


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def client(plane: ControlPlaneServer, service: str) -> Any:
    aws = plane.environment()
    session = boto3.Session(
        aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"], region_name=aws["AWS_REGION"]
    )
    config = Config(proxies={"https": aws["HTTPS_PROXY"]}, retries={"max_attempts": 1})
    return session.client(service, config=config, verify=aws["AWS_CA_BUNDLE"])
