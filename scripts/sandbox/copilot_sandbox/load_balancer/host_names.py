"""The host names of a load balancer of the sandbox, and the rules that each name may reach.

A name of the user's domain, such as test.shop.example, leads elsewhere. So each has a twin on loopback, below
`localhost`: test.shop.example.localhost.

A web page's own domain may resolve to 127.0.0.1 (DNS rebinding), so that the page can send requests from the
user's browser. The Host header then contains that domain, which is not one of these names.
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
# `*.shop.example`, but not `*`, `*.com` or `shop.*`, which would include other people's domains.
_SUBDOMAINS = re.compile(r"\*(?:\.[a-z0-9_-]+){2,}|\*\.localhost", re.ASCII)


def reachable(host: str, port: int, rules: Sequence[Rule]) -> list[Rule] | None:
    """Return the rules that a request with this Host header may reach; None if the host is unknown.

    Under a loopback name with the balancer's own port, these are all rules. Under a name in a rule's
    condition, these are only those rules: the name of one service does not open another one.
    """
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return None
    name, given_port = match["name"], match["port"]
    if name in LOOPBACK:
        return list(rules) if given_port in (None, str(port)) else None
    for known in (name, own_name(name)):
        naming = [rule for rule in rules if any(_names(pattern.lower(), known) for pattern in rule.hosts)]
        if naming:
            return naming
    return None


def own_name(name: str) -> str:
    """Return the name in the user's domain whose twin on loopback `name` is; any other name as it is."""
    own = name.removesuffix(".localhost")
    return own if "." in own else name


@lru_cache(maxsize=1024)
def _names(pattern: str, name: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    return _SUBDOMAINS.fullmatch(pattern) is not None and name.endswith(pattern[1:])
