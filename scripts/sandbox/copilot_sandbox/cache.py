"""The emulated ElastiCache for stage and production: one Valkey on a Unix socket of this user.

On AWS a cache has no password unless one is set; security groups keep others out. Here the permissions of the
socket's folder do. Tasks use the cache's address: a listener in their network namespace forwards to the
socket. Without namespaces, a listener on a loopback address does, for this user's programs only.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from copilot_sandbox.postgres import SOCKETS
from copilot_sandbox.private import own_folder

# Commands that ElastiCache does not have, and commands that write to a disk.
# Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/SupportedCommands.html
_REFUSED = (
    "BGREWRITEAOF", "BGSAVE", "CONFIG", "DEBUG", "MIGRATE", "MODULE", "PSYNC", "REPLICAOF", "SAVE",
    "SHUTDOWN", "SLAVEOF", "SYNC",
)  # fmt: skip


def socket_of(state_dir: Path) -> Path:
    """Return the socket path of a clone's server."""
    clone = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:12]
    return SOCKETS / f"copilot-sandbox-{os.geteuid()}-{clone}-cache" / "valkey"


def address_of(state_dir: Path) -> str:
    """Return a loopback address for a clone's servers that other clones very probably do not have."""
    one, two = hashlib.sha256(os.fsencode(state_dir)).digest()[:2]
    return f"127.83.{one}.{two or 1}"


def command(program: str | Path, state_dir: Path) -> list[str]:
    """Create the server's folders and return its command line. Raises Failed if another user owns them."""
    socket, folder = socket_of(state_dir), state_dir / "cache"
    own_folder(socket.parent)
    own_folder(folder)
    socket.unlink(missing_ok=True)
    return [
        *(str(program), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--save", "", "--appendonly", "no"),
        *(
            "--enable-protected-configs",
            "no",
            "--enable-module-command",
            "no",
            "--enable-debug-command",
            "no",
        ),
        *(word for name in _REFUSED for word in ("--rename-command", name, "")),
        *("--set-proc-title", "no"),  # a title would overwrite the environment's mark in its memory
    ]
