"""The privileges of a container's processes: what root keeps, and what another user in its place gets.

This module needs only the standard library: it is used before all others, in a process with one thread.
Source: capabilities(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 8, 24, 28, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_NO_SETUID_FIXUP = 1 << 2
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2

# Docker's capabilities of root in a container, less those for devices and raw packets: chown, dac_override,
# fowner, fsetid, kill, setgid, setuid, net_bind_service, setfcap. Without setfcap root cannot be mapped into
# a user namespace, in which Postgres runs under another user.
# Sources: https://docs.docker.com/engine/security/#linux-kernel-capabilities, user_namespaces(7)
_KEPT = (0, _DAC_OVERRIDE, 3, 4, 5, 6, 7, 10, 31)
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
_HEADER = struct.pack("=Ii", 0x20080522, 0)  # version 3, this process
# Effective, permitted, inheritable: for the first 32 capabilities, then for the rest.
_SETS = "=6I"


def drop() -> None:
    """Drop the privileges that no container needs, for this process and all its children."""
    if os.geteuid() == 0:
        last = int(_LAST_CAPABILITY.read_text())
        for number in set(range(last + 1)) - set(_KEPT):
            call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
        _limit(_KEPT)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def become(uid: int, gid: int) -> None:
    """Change from root to another user, who keeps root's access to files if the system allows that.

    Of root's capabilities this user keeps the smallest one that is there: to read all files, or, as Docker
    takes that one away, to write them too. The user's programs keep it. Without it, root's folders may be
    closed to this user: the caller has to try.
    """
    with contextlib.suppress(OSError):
        call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Else access(2), by which Postgres looks for its programs, would not count capabilities.
        call("prctl", _PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    with contextlib.suppress(OSError):
        kept = _DAC_READ_SEARCH if _permitted() >> _DAC_READ_SEARCH & 1 else _DAC_OVERRIDE
        _limit([kept], inherited=[kept])
        call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept, 0, 0)


def call(function: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, function):
        raise OSError(f"this system has no {function}")
    if getattr(library, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _permitted() -> int:
    """Return the first 32 of the capabilities that this process may use, as bits."""
    sets = ctypes.create_string_buffer(struct.calcsize(_SETS))
    call("capget", _HEADER, sets)
    permitted: int = struct.unpack(_SETS, sets.raw)[1]
    return permitted


def _limit(numbers: Iterable[int], inherited: Iterable[int] = ()) -> None:
    """Drop all capabilities but `numbers`, each below 32. Programs keep `inherited` if it is made ambient."""
    mask = sum(1 << number for number in numbers)
    call("capset", _HEADER, struct.pack(_SETS, mask, mask, sum(1 << each for each in inherited), 0, 0, 0))
