"""Finds where containers listen: as the load balancer's reason, and if other machines can reach it.

Such a task shares the machine's addresses: a server that binds to `:8000` or `[::]:8000` is open to the whole
network, past the load balancer. Nothing on such a system prevents that, so the agent looks for it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

_NET = Path("/proc/net")
_LISTEN, _UNCONNECTED = "0A", "07"
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_EPHEMERAL = (32_768, 60_999)


class Listener(NamedTuple):
    """An open port; `protocol` is tcp or udp."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {host}:{self.port}"


def exposed(tasks: Mapping[str, int]) -> dict[str, Listener]:
    """Return the tasks that listen where other machines reach them. `tasks` maps tasks to first processes.

    A datagram socket counts only if its port is outside the range that the system gives to clients, because
    a program that only sends has one too.
    """
    if sys.platform == "linux":
        return _by_tables(tasks)
    return _by_processes(tasks)


def of_network(pid: int) -> list[Listener]:
    """Return the TCP ports that are open in a process's network; none where the system does not show them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for fields in _rows(Path(f"/proc/{pid}/net/{table}")):
            if fields[3] == _LISTEN:
                encoded, _, port = fields[1].partition(":")
                found.add(Listener("tcp", _address(encoded), int(port, 16)))
    return sorted(found, key=lambda listener: listener.port)


def advice(listener: Listener) -> str:
    """Return a line that names the problem and the setting that solves it."""
    return (
        f"a container listens on {listener}, where other machines reach it: this system gives a task no "
        f"network of its own. Write 0.0.0.0:{listener.port} in the container's command or variables (`--bind "
        f"0.0.0.0:{listener.port}`): the sandbox puts the task's own loopback address in its place"
    )


def is_open(address: str) -> bool:
    """Return True if other machines reach the address, or if it means all addresses."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return not (mapped or parsed).is_loopback


def _by_tables(tasks: Mapping[str, int]) -> dict[str, Listener]:
    """Linux: read the kernel's short tables, then search the processes only if a socket is suspect."""
    suspects = dict(_suspects())
    exposed_tasks: dict[str, Listener] = {}
    for pid in _own_processes() if suspects and tasks else ():
        with contextlib.suppress(OSError, psutil.Error):
            folder = Path(f"/proc/{pid}/fd")
            inodes = {str((folder / name).readlink()) for name in os.listdir(folder)}  # noqa: PTH208 - names do
            for inode, listener in suspects.items():
                if f"socket:[{inode}]" in inodes and (task := _task_of(pid)) in tasks:
                    exposed_tasks.setdefault(task, listener)
    return exposed_tasks


def _suspects() -> Iterator[tuple[str, Listener]]:
    """Yield this user's open sockets by inode."""
    first, last = _ephemeral()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        protocol = table[:3]
        for fields in _rows(_NET / table):
            if (
                fields[3] != (_LISTEN if protocol == "tcp" else _UNCONNECTED)
                or int(fields[7]) != os.geteuid()
            ):
                continue
            encoded, _, port = fields[1].partition(":")
            listener = Listener(protocol, _address(encoded), int(port, 16))
            sends_only = protocol == "udp" and first <= listener.port <= last
            if is_open(listener.address) and not sends_only:
                yield fields[9], listener


def _rows(table: Path) -> list[list[str]]:
    """Return the fields of one of the kernel's tables, without its heading."""
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:  # the system has no IPv6, or the process has ended
        return []


def _address(encoded: str) -> str:
    """Decode an address of the kernel's tables: 32-bit words in the machine's byte order."""
    words = [int(encoded[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(encoded), 8)]
    packed = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)  # noqa: PLR2004 - bytes


def _ephemeral() -> tuple[int, int]:
    try:
        first, last = _EPHEMERAL.read_text().split()
    except (OSError, ValueError):
        return _USUAL_EPHEMERAL
    return int(first), int(last)


def _own_processes() -> Iterable[int]:
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}").stat().st_uid == os.geteuid():
                yield pid


def _task_of(pid: int) -> str:
    """Return the task whose mark the process or one of its parents has."""
    process: psutil.Process | None = psutil.Process(pid)
    while process is not None:
        with contextlib.suppress(psutil.Error):
            if mark := process.environ().get("SANDBOX_TASK"):
                return mark
        process = process.parent()
    return ""


def _by_processes(tasks: Mapping[str, int]) -> dict[str, Listener]:
    """macOS: read the sockets of each task's processes, as a user may only ask for their own processes."""
    exposed_tasks: dict[str, Listener] = {}
    first, last = _USUAL_EPHEMERAL[0], 65_535
    for task, pid in tasks.items():
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(pid).children(recursive=True):
                for connection in process.net_connections("inet"):
                    if connection.raddr or not connection.laddr:
                        continue
                    protocol = "tcp" if connection.type == socket.SOCK_STREAM else "udp"
                    listener = Listener(protocol, connection.laddr.ip, connection.laddr.port)
                    sends_only = protocol == "udp" and first <= listener.port <= last
                    listens = protocol == "udp" or connection.status == psutil.CONN_LISTEN
                    if listens and is_open(listener.address) and not sends_only:
                        exposed_tasks.setdefault(task, listener)
    return exposed_tasks
