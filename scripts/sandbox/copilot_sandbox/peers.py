"""Finds the user whose program is at the other end of a loopback connection."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

# The kernel's tables of TCP sockets. The IPv6 table includes IPv4 addresses that are mapped to IPv6.
# Source: https://docs.kernel.org/networking/proc_net_tcp.html
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9
# From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h: a header of 16 bytes, then the message, which
# ends with the user and the inode.
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ANSWER = 4, 20, 1, 88
_MAPPED = bytes(10) + b"\xff\xff"


def is_own_user(connection: socket.socket) -> bool:
    """Return True if a program of this user, or of root, opened the connection.

    Also return True if the system does not show a socket's user (macOS); then the caller's checks decide.
    A socket that its program has already closed has no user: return False.
    """
    if not _TABLES[0].exists():
        return True
    try:
        own, other = connection.getsockname(), connection.getpeername()
    except OSError:
        return False
    owner = _ask_kernel(other[:2], own[:2])
    if owner is not None:
        return owner in {0, os.geteuid()}
    # The table lists the connection from the other end, so its two addresses are swapped.
    ends = [(_encoded(*other[:2], wide=wide), _encoded(*own[:2], wide=wide)) for wide in (False, True)]
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:  # the system has no IPv6
            continue
        for line in lines:
            fields = line.split()
            if (fields[_LOCAL], fields[_REMOTE]) in ends and fields[_INODE] != "0":
                return int(fields[_UID]) in {0, os.geteuid()}
    return False


def _ask_kernel(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """Ask the kernel for one socket's user. This takes microseconds; reading the tables takes milliseconds.

    Return None if the kernel does not answer, for example because it lacks the module.
    """
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    ends = [socket.inet_pton(family, host.partition("%")[0]).ljust(16, b"\0") for host, _ in (local, remote)]
    ports = struct.pack("!HH", local[1], remote[1])
    identity = ports + b"".join(ends) + bytes(4) + b"\xff" * 8
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + identity
    head = struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _REQUEST, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.send(head + request)
            answer = kernel.recv(4096)
    except (OSError, AttributeError):
        return None
    if len(answer) < _ANSWER or struct.unpack_from("=H", answer, 4)[0] != _BY_FAMILY:
        return None
    uid, inode = struct.unpack_from("=II", answer, _ANSWER - 8)
    return int(uid) if inode else None


def _encoded(host: str, port: int, *, wide: bool) -> str:
    """Encode an address as in the tables: 32-bit words in the machine's byte order."""
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    else:
        packed = (_MAPPED if wide else b"") + socket.inet_aton(host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
