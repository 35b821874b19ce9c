"""The network of a container outside of any task: loopback alone, and the forwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from copilot_sandbox.agent import engine_network

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("nsenter") is None,
    reason="an engine is used by root on Linux",
)
ASK = """
import socket
with socket.create_connection(("127.83.9.9", 5432), 10) as connection:
    print(connection.recv(9).decode())
print([name for _, name in socket.if_nameindex()])
"""


def test_a_program_in_it_reaches_the_forwarded_server_and_no_other_interface(tmp_path: Path) -> None:
    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"forwarded")

        threading.Thread(target=answer, daemon=True).start()
        with engine_network.network([("127.83.9.9", 5432, path)]) as namespace:
            words = ["nsenter", f"--net={namespace}", sys.executable, "-c", ASK]
            done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=30)
            assert done.stdout.splitlines() == ["forwarded", "['lo']"]
            assert Path(namespace).exists()
    assert not Path(namespace).exists()
