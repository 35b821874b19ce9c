"""Two ways to give a task a `localhost` of its own: a network namespace, or a loopback address."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import struct
import sys
from pathlib import Path
from typing import Literal

Way = Literal["namespace", "loopback"]

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
# From linux/sockios.h and linux/if.h.
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP_RUNNING = 0x1 | 0x40

CLAIM_PORT = 61_139  # a listener on this port claims its address of 127.0.0.0/8
MAC_POOL = 16  # macOS knows only 127.0.0.1 until someone adds others by hand, so the pool is small


class NoAddressError(Exception):
    """No loopback address is available; the message names the next step."""


def enter_namespace(address: str) -> None:
    """Move this process, which must have one thread, into a new network namespace with `address`.

    The namespace has only the loopback interface, so a container reaches nothing outside. Other tasks use
    `address`; as on ECS, a server that listens only on localhost is not reachable under it. Raises OSError
    if the system does not allow this.
    """
    uid, gid = os.getuid(), os.getgid()
    if os.geteuid() == 0:
        _unshare(CLONE_NEWNET)
    else:
        _unshare(CLONE_NEWUSER | CLONE_NEWNET)
        # user_namespaces(7): an ordinary user may map only himself, and must give up setgroups first.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    # As in Docker, a container of any user may listen on port 80.
    with contextlib.suppress(OSError):
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))
        fcntl.ioctl(handle, SIOCSIFADDR, _interface_request(b"lo:1", address))
        fcntl.ioctl(handle, SIOCSIFNETMASK, _interface_request(b"lo:1", "255.255.255.255"))


def claim_loopback(platform: str = sys.platform) -> socket.socket:
    """Return a socket that reserves a loopback address for one task until it is closed.

    Raises NoAddressError with the next step if the system has no free address.
    """
    if platform == "darwin":
        candidates = [f"127.0.1.{number}" for number in range(1, MAC_POOL + 1)]
    else:
        rng = random.SystemRandom()
        candidates = [
            f"127.{rng.randrange(16, 255)}.{rng.randrange(256)}.{rng.randrange(1, 255)}" for _ in range(20)
        ]
    refused: OSError | None = None
    for address in candidates:
        claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claim.bind((address, CLAIM_PORT))
            claim.listen(1)
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                refused = error
            continue
        return claim
    if refused is None:
        raise NoAddressError(
            f"all loopback addresses from {candidates[0]} to {candidates[-1]} are taken by other tasks: "
            "stop another sandbox, then deploy again"
        )
    raise NoAddressError(
        f"this system gives a task no address of its own ({candidates[0]}: {refused.strerror}): "
        f"run `sudo ifconfig lo0 alias {candidates[0]} up` (one address for each task that runs at once), "
        "then deploy again"
    )


def _interface_request(name: bytes, address: str) -> bytes:
    """Return a `struct ifreq` that holds an IPv4 address."""
    return struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))


def _unshare(flags: int) -> None:
    # Python 3.12 has os.unshare. ctypes takes milliseconds to import, so it is imported only if needed.
    native = getattr(os, "unshare", None)
    if native is not None:
        native(flags)
        return
    import ctypes  # noqa: PLC0415 -- see above

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "unshare"):
        raise OSError(errno.ENOSYS, "this system has no namespaces")
    if library.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
