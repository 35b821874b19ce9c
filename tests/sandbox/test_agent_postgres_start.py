"""The postgres image where root can have no user namespace: in a chroot, and in most containers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from copilot_sandbox.agent import catalogue, privileges
from copilot_sandbox.postgres import bin_dir
from tests.sandbox.fake_control_plane import until

PASSWORD = "pw"
# The kernel refuses a user namespace to a process in a chroot. The machine's own files are in this one.
CHROOT = ("unshare", "--mount", "sh", "-ec", 'mount --rbind / "$1"; root=$1; shift; exec chroot "$root" "$@"')

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("unshare") is None
    or subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0,
    reason="only root may mount and chroot; others never change the user",
)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that only root may enter."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def database(
    closed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The image's server in a chroot; its programs, log and data lie where only root may enter."""
    packages = closed / "packages"
    packages.symlink_to(bin_dir())
    monkeypatch.setattr(catalogue, "bin_dir", lambda: packages)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    public = catalogue.provide("postgres:16", closed / "db", "127.0.0.1")
    root = tmp_path / "chroot"
    root.mkdir()
    environment = {
        "PATH": f"{public.tools[0]}:{packages}:{os.environ['PATH']}",
        "SANDBOX_HOST": "127.0.0.1",
        "PGDATA": str(closed / "data"),
        "PGPORT": port,
        "POSTGRES_PASSWORD": PASSWORD,
    }
    entry_point = str(public.tools[0] / "docker-entrypoint.sh")
    command = [*CHROOT, "sh", str(root), entry_point, "postgres", "-p", port]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: server.poll() is not None or answer(port, "SELECT 1") == "1", 30)
            monkeypatch.setenv("PGPORT", port)
            yield server
        finally:
            server.terminate()


def answer(port: str, query: str) -> str:
    return subprocess.run(
        [bin_dir() / "psql", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-Atc", query],
        env={"PGPASSWORD": PASSWORD},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout.strip()


def test_the_server_runs_in_folders_that_only_root_may_enter(
    database: subprocess.Popen[bytes], closed: Path
) -> None:
    assert database.poll() is None
    port = os.environ["PGPORT"]
    # Files of the package that the running server opens by their paths.
    assert answer(port, "SELECT to_tsvector('english', 'shops')") == "'shop':1"
    assert answer(port, "SELECT count(*) > 9 FROM pg_timezone_names") == "t"
    assert (closed / "data").stat().st_uid == psutil.Process(database.pid).uids().real != 0


def test_the_server_keeps_the_right_to_read_and_no_other(database: subprocess.Popen[bytes]) -> None:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{database.pid}/status").read_text().splitlines()
    )
    kept, *other = {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert not other
    assert kept in (1 << privileges._DAC_READ_SEARCH, 1 << privileges._DAC_OVERRIDE)
