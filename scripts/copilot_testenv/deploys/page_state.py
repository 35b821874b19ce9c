"""Ask the pages of deployments, for `status`: what each answers, in words."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from copilot_testenv.deploys.probe import Page, open_page

if TYPE_CHECKING:
    from copilot_testenv.core.settings import DeployTarget

_SECONDS = 5.0  # for a page with its redirects
_AT_ONCE = 16


def ask(urls: Sequence[str | None], target: DeployTarget) -> list[Page | None]:
    """Return the page of each URL, asked at the same time; None where `target` has no such address.

    The URLs come from the registry, which others can write: on AWS no address of a private machine is asked
    by its number, and in the sandbox only this machine.
    """
    if not urls:
        return []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda url: open_page(url, _SECONDS) if _is_of(url, target) else None, urls))


def _is_of(url: str | None, target: DeployTarget) -> bool:
    try:
        host = urlsplit(url or "").hostname or ""
    except ValueError:
        return False
    local = host == "localhost" or host.endswith(".localhost")
    if target == "sandbox":
        return local
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return not local and "." in host and not host.rpartition(".")[2].isdigit()
    return False


def is_usable(page: Page | None, target: DeployTarget) -> bool:
    """Return False if nobody can use the page, as far as this machine can know."""
    if page is None or page.fault in {None, "closed"}:
        return True
    return page.fault == "unreachable" and target == "aws"  # only some addresses may see it


def told(page: Page | None, target: DeployTarget) -> str:
    """Return what the page of a live deployment answers, for the column `state`."""
    if page is None:
        return "live"
    if page.fault == "closed" or (page.fault == "unreachable" and target == "aws"):
        return "live; its page lets this machine not in"
    if page.fault == "unreachable":
        return f"its page does not answer: {page.reason}"
    if page.fault and page.reason.startswith("it "):
        return f"its page {page.reason.removeprefix('it ')}"
    return f"live; its page answers {page.status}"
