"""No call that the sandbox's key did not sign gives a neighbour anything of its AWS.

Where the tests run as root an attack is run as another user too; elsewhere as a client without the key.
"""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from copilot_sandbox import peers
from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.control_plane.connections import UNAUTHENTICATED
from copilot_sandbox.control_plane.signatures import Key, NotSignedError, Signatures
from tests.attacks.hostile_calls import INSIDE, OUTSIDE
from tests.attacks.neighbours import CREATE, HOST, Target, as_neighbour, as_root, client, post


@pytest.fixture
def target(plane: ControlPlaneServer) -> Target:
    aws = plane.environment()
    return Target(plane.port, plane.ca, aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"])


@pytest.mark.nightly_from(12)
@pytest.mark.parametrize("name", [*OUTSIDE, *INSIDE])
def test_a_call_that_the_key_did_not_sign_does_nothing(
    plane: ControlPlaneServer, target: Target, name: str
) -> None:
    attack, expected = {**OUTSIDE, **INSIDE}[name]
    try:
        answer = attack(target)
    except OSError:  # TLS was refused
        answer = b""
    assert not expected or any(word in answer for word in expected.split(b"|"))
    if b"|" not in expected:
        assert bool(answer) == bool(expected)
    assert b"postgres://secret" not in answer
    assert client(plane, "cloudformation").list_stacks()["StackSummaries"] == []


def test_the_same_call_with_the_key_is_answered(target: Target) -> None:
    body = "Action=ListStacks&Version=2010-05-15"
    assert b" 200 OK" in target.tunnel(post(target.signed(body), body))


def test_the_key_of_a_role_holds_as_long_as_its_session(target: Target) -> None:
    key = Key("ASIAROLEROLEROLEROLE", "s" * 40, "token")
    roles = [key]
    signatures = Signatures(Key(target.key, target.secret), lambda: roles)
    from email.message import Message  # noqa: PLC0415 - as http.client reads headers

    headers = Message()
    for name, value in target.signed(key=key.id, secret=key.secret, token=key.token).items():
        headers[name] = value
    signatures.check(signatures.claim(headers), "POST", f"https://{HOST}/", headers, CREATE.encode())
    headers.replace_header("X-Amz-Security-Token", "another")
    with pytest.raises(NotSignedError, match="token"):
        signatures.claim(headers)
    headers.replace_header("X-Amz-Security-Token", "token")
    roles.clear()
    with pytest.raises(NotSignedError, match="token"):
        signatures.claim(headers)


def test_a_key_is_new_with_each_start(tmp_path: Path) -> None:
    keys = set()
    plane = ControlPlaneServer(0, tmp_path / "state", None, lambda _: 0)
    for _ in range(3):
        plane.start()
        found = plane.environment()
        keys |= {found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]}
        plane.stop()
    assert len(keys) == 6
    assert "sandbox" not in keys


def test_a_crowd_of_silent_connections_keeps_nobody_out(plane: ControlPlaneServer) -> None:
    crowd = [socket.create_connection(("127.0.0.1", plane.port)) for _ in range(UNAUTHENTICATED + 20)]
    try:
        assert client(plane, "cloudformation").list_stacks()["StackSummaries"] == []
    finally:
        for each in crowd:
            each.close()


def test_who_says_nothing_is_hung_up_on(plane: ControlPlaneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copilot_sandbox.control_plane.connections.UNAUTHENTICATED_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", plane.port)) as silent:
        silent.settimeout(5)
        silent.sendall(b"CONN")
        assert silent.recv(1) == b""


@as_root
def test_another_user_gets_nothing_even_with_the_key(plane: ControlPlaneServer, target: Target) -> None:
    assert as_neighbour(lambda: target.talk(post({})).decode()) in ("", None)
    opened = target.ca.read_text()  # who is let in has to read it
    assert "CERTIFICATE" in opened
    assert as_neighbour(lambda: target.tunnel(post(target.signed())).decode()) in ("", None)
    assert client(plane, "cloudformation").list_stacks()["StackSummaries"] == []


@as_root
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("quick", [True, False], ids=["by a question", "by the tables"])
def test_whose_a_connection_is_is_known(host: str, monkeypatch: pytest.MonkeyPatch, *, quick: bool) -> None:
    if not quick:
        monkeypatch.setattr(peers, "_ask_kernel", lambda *_: None)
    inside = "127.0.0.1" if host.endswith("127.0.0.1") else host
    family = socket.AF_INET6 if ":" in inside else socket.AF_INET
    with socket.create_server((inside, 0), family=family) as listener:
        port = listener.getsockname()[1]

        def connected() -> bool:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
                client.connect((host, port))
                accepted, _ = listener.accept()
                with accepted:
                    return peers.is_own_user(accepted)

        def seen_from_here() -> list[bool]:
            ready, done = socket.socketpair()
            with ready, done:
                child = os.fork()
                if child == 0:
                    os.setuid(pwd.getpwnam("nobody").pw_uid)
                    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
                    client.connect((host, port))
                    done.recv(1)
                    os._exit(0)
                accepted, _ = listener.accept()
                with accepted:
                    found = [peers.is_own_user(accepted)]
                    ready.send(b".")
                    os.waitpid(child, 0)
                    found.append(peers.is_own_user(accepted))  # a closed socket has no user
                return found

        assert connected()
        assert seen_from_here() == [False, False]
