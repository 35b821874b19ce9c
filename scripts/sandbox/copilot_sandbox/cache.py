"""What plays ElastiCache for stage and production: one Valkey, on a Unix socket that only this user opens.

On AWS a cache has no password unless it is given one, and security groups keep others away. Here the socket's
folder does. Tasks reach it under the cache's address: in a network namespace of their own by a listener in
there, elsewhere by one on a loopback address that lets in this user's programs only.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from copilot_sandbox.postgres import SOCKETS
from copilot_sandbox.private import own_folder

# What ElastiCache does not have; also what writes to a disk.
# Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/SupportedCommands.html
_REFUSED = (
    "BGREWRITEAOF", "BGSAVE", "CONFIG", "DEBUG", "MIGRATE", "MODULE", "PSYNC", "REPLICAOF", "SAVE",
    "SHUTDOWN", "SLAVEOF", "SYNC",
)  # fmt: skip


def socket_of(state_dir: Path) -> Path:
    """Return where the server of a clone listens."""
    clone = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:12]
    return SOCKETS / f"copilot-sandbox-{os.geteuid()}-{clone}-cache" / "valkey"


def command(program: str | Path, state_dir: Path) -> list[str]:
    """Return the server's command line; its folders are made. Raises Failed where they are not ours."""
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
        *("--set-proc-title", "no"),  # a title overwrites our mark in its memory
    ]
