"""`nc` for start scripts that wait for a database, where this machine has none."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox.agent import catalogue, netcat


@pytest.fixture
def port() -> Iterator[str]:
    """A server that answers each message with itself in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(connection.recv(100).upper())

        threading.Thread(target=serve, daemon=True).start()
        yield str(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("options", ["-z", "-vz -w30", "-z -v -w 3 -4", "HOST PORT -z"])
def test_a_port_that_answers_ends_the_wait(port: str, options: str) -> None:
    words = ["127.0.0.1", port]
    given = [*words, "-z"] if "HOST" in options else [*options.split(), *words]
    assert netcat.main(given) == 0


@pytest.mark.parametrize(
    "words", ["-z 127.0.0.1 1", "-z 127.0.0.1 70000", "-l 80", "-z db", "-zv -wx db 5432"]
)
def test_anything_else_is_a_failure(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert netcat.main(words.split()) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_the_program_is_written_where_the_machine_lacks_it(
    tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: {"netcat": "/bin/netcat"}.get(name))
    folder = catalogue.write_common(tmp_path / "bin")
    assert [each.name for each in folder.iterdir()] == ["nc"]
    done = subprocess.run(
        [folder / "nc", "127.0.0.1", port], input="ping", check=True, capture_output=True, text=True
    )
    assert done.stdout == "PING"
