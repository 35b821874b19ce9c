"""The host names that a load balancer of the sandbox answers to, and which of its rules each may reach.

A web page may give a name of its own the address 127.0.0.1 (DNS rebinding) and ask from the user's browser:
its name is in the Host header, and is none of ours.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.model import Rule

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
# `*.shop.example`, but not `*`, `*.com` or `shop.*`: those would be anybody's names.
_SUBDOMAINS = re.compile(r"\*(?:\.[a-z0-9_-]+){2,}|\*\.localhost", re.ASCII)


def reachable(host: str, port: int, rules: Sequence[Rule]) -> list[Rule] | None:
    """Return the rules that a request with this Host header may reach; None where the host is unknown.

    Under a loopback name, on the balancer's own port, these are all of them. Under a name that rules give
    they are those rules only: a name of one service opens no other one.
    """
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return None
    name, given = found["name"], found["port"]
    if name in LOOPBACK:
        return list(rules) if given in (None, str(port)) else None
    naming = [rule for rule in rules if any(_names(pattern.lower(), name) for pattern in rule.hosts)]
    return naming or None


@lru_cache(maxsize=1024)
def _names(pattern: str, name: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    return _SUBDOMAINS.fullmatch(pattern) is not None and name.endswith(pattern[1:])
