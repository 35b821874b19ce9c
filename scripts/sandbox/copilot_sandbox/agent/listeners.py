"""Finds listeners of containers that other machines reach, where a task has no network of its own.

A task then shares the machine's addresses: a server that binds to `:8000` or `[::]:8000` is open to the whole
network, past the load balancer. Nothing on such a system keeps it from that, so it is looked for.
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
    """An open port: `protocol` is tcp or udp."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {host}:{self.port}"


def exposed(tasks: Mapping[str, int]) -> dict[str, Listener]:
    """Return the tasks, of those named with their first process, that listen where other machines reach them.

    A datagram socket counts where its port is none that the system gives to clients: those that only send
    have one too.
    """
    if sys.platform == "linux":
        return _by_tables(tasks)
    return _by_processes(tasks)


def advice(listener: Listener) -> str:
    """Return the line that says what is wrong, and what to write."""
    return (
        f"a container listens on {listener}, where other machines reach it: this system gives a task no "
        f"network of its own. Write 0.0.0.0:{listener.port} in the container's command or variables (`--bind "
        f"0.0.0.0:{listener.port}`): the sandbox puts the task's own loopback address in its place"
    )


def is_open(address: str) -> bool:
    """Return True for an address that other machines reach, or that stands for all addresses."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return not (mapped or found).is_loopback


def _by_tables(tasks: Mapping[str, int]) -> dict[str, Listener]:
    """Linux: read the kernel's tables, which are short, and look for the processes of suspects only."""
    suspects = dict(_suspects())
    found: dict[str, Listener] = {}
    for pid in _own_processes() if suspects and tasks else ():
        with contextlib.suppress(OSError, psutil.Error):
            folder = Path(f"/proc/{pid}/fd")
            inodes = {str((folder / name).readlink()) for name in os.listdir(folder)}  # noqa: PTH208 - names do
            for inode, listener in suspects.items():
                if f"socket:[{inode}]" in inodes and (task := _task_of(pid)) in tasks:
                    found.setdefault(task, listener)
    return found


def _suspects() -> Iterator[tuple[str, Listener]]:
    """Yield the open sockets of this user by inode."""
    first, last = _ephemeral()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        try:
            lines = (_NET / table).read_text().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        protocol = table[:3]
        for line in lines:
            fields = line.split()
            if (
                fields[3] != (_LISTEN if protocol == "tcp" else _UNCONNECTED)
                or int(fields[7]) != os.geteuid()
            ):
                continue
            written, _, port = fields[1].partition(":")
            listener = Listener(protocol, _address(written), int(port, 16))
            sends_only = protocol == "udp" and first <= listener.port <= last
            if is_open(listener.address) and not sends_only:
                yield fields[9], listener


def _address(written: str) -> str:
    """Read an address as the tables have it: 32-bit words in the machine's own order of bytes."""
    words = [int(written[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(written), 8)]
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
    """Return the task whose mark a process or one of its parents carries."""
    process: psutil.Process | None = psutil.Process(pid)
    while process is not None:
        with contextlib.suppress(psutil.Error):
            if mark := process.environ().get("SANDBOX_TASK"):
                return mark
        process = process.parent()
    return ""


def _by_processes(tasks: Mapping[str, int]) -> dict[str, Listener]:
    """macOS: the sockets of each task's processes, of which a user may ask his own."""
    found: dict[str, Listener] = {}
    first, last = _USUAL_EPHEMERAL[0], 65_535
    for task, pid in tasks.items():
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(pid).children(recursive=True):
                for each in process.net_connections("inet"):
                    if each.raddr or not each.laddr:
                        continue
                    protocol = "tcp" if each.type == socket.SOCK_STREAM else "udp"
                    listener = Listener(protocol, each.laddr.ip, each.laddr.port)
                    sends_only = protocol == "udp" and first <= listener.port <= last
                    listens = protocol == "udp" or each.status == psutil.CONN_LISTEN
                    if listens and is_open(listener.address) and not sends_only:
                        found.setdefault(task, listener)
    return found
