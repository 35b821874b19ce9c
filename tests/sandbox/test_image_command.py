"""A command that fills staging: as a process, in a network like that of a task."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from copilot_sandbox import image_command
from copilot_sandbox.agent.confined import obstacle
from copilot_sandbox.agent.port_forwards import PortForward
from copilot_sandbox.model import Image
from copilot_sandbox.postgres import PostgresServer

ASK = """
import os, socket, sys
with socket.create_connection(("127.0.0.1", 6379), 10) as connection:
    print(connection.recv(9).decode())
print([name for _, name in socket.if_nameindex()], os.environ["ONE"])
print(open(sys.argv[1]).read())
"""


@pytest.mark.skipif(obstacle() is not None, reason="only Linux with namespaces gives a process a network")
def test_a_command_reaches_what_a_container_has_beside_it_and_no_other_network(tmp_path: Path) -> None:
    readable = tmp_path / "ca.pem"
    readable.write_text("the authority")
    with socket.socket(socket.AF_UNIX) as redis:
        redis.bind(str(tmp_path / "redis"))
        redis.listen()

        def answer() -> None:
            connection, _ = redis.accept()
            with connection:
                connection.sendall(b"forwarded")

        threading.Thread(target=answer, daemon=True).start()
        code, log = _run(
            tmp_path, f"python3 ask.py {readable}", [("127.0.0.1", 6379, str(tmp_path / "redis"))], readable
        )
    assert (code, log.splitlines()) == (0, ["forwarded", "['lo'] 1", "the authority"])


def test_without_forwards_a_command_has_the_network_of_this_machine(tmp_path: Path) -> None:
    code, log = _run(tmp_path, "echo $ONE; exit 3", [])
    assert (code, log) == (3, "1\n")


def test_a_path_of_the_image_is_found_below_the_folder_that_has_its_files(tmp_path: Path) -> None:
    code, log = _run(tmp_path, "test -f /srv/bin/ask.py && echo there", [])
    assert (code, log) == (0, "there\n")


def _run(tmp_path: Path, command: str, forwards: list[PortForward], *readable: Path) -> tuple[int, str]:
    root = tmp_path / "image"
    (root / "srv/bin").mkdir(parents=True)
    for folder in (root, root / "srv/bin"):
        (folder / "ask.py").write_text(ASK)
    image = Image(
        digest="", root=root, venv=None, env={}, workdir="/", entrypoint=(), cmd=(), paths=("/srv/bin",)
    )
    server = PostgresServer(tmp_path / "state")
    for folder in (server.folder, server.socket_dir):
        folder.mkdir(parents=True, exist_ok=True)
    log = tmp_path / "log"
    cancelled = threading.Event()
    code = image_command.run_process(server, image, command, {"ONE": "1"}, log, cancelled, forwards, readable)
    return code, log.read_text()
