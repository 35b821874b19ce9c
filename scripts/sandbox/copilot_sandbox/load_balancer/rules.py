"""The rules of a load balancer's listener: finds a request's rule, and a redirect's address."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from copilot_sandbox.load_balancer.host_names import own_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.model import Rule


def find_rule(rules: Sequence[Rule], host: str, path: str, client: str | None) -> Rule | None:
    """Return the first rule, by priority, whose conditions all match. With `client` None, any source matches.

    As on AWS, X-Forwarded-For is ignored.
    """
    name = (urlsplit(f"//{host}").hostname or "" if host else "").lower()
    names = {name, own_name(name)}
    for rule in sorted(rules, key=lambda rule: rule.priority):
        patterns = [wild(pattern.lower()) for pattern in rule.hosts]
        hosts = not patterns or any(pattern.fullmatch(each) for pattern in patterns for each in names)
        paths = not rule.paths or any(wild(pattern).fullmatch(path) for pattern in rule.paths)
        if hosts and paths and (client is None or not rule.sources or _within(client, rule.sources)):
            return rule
    return None


def _within(client: str, networks: Sequence[str]) -> bool:
    address = ipaddress.ip_address(client)
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


@lru_cache(maxsize=256)
def wild(pattern: str) -> re.Pattern[str]:
    """Translate a load balancer's pattern to a regular expression: `*` is any text, `?` any one character."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def redirection(template: str, host: str, target: str, port: int) -> str:
    """Return a redirect's URL with the request's `#{host}`, `#{path}`, `#{query}` and so on filled in.

    `target` is the request's path with its query.
    """
    path, _, query = target.partition("?")
    host = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    values = {"host": host, "path": path.lstrip("/"), "port": str(port), "query": query, "protocol": "http"}
    url = re.sub(r"#\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)
    return url.removesuffix("?").replace("\r", "").replace("\n", "")
