"""Says what this machine lacks, and what that costs the user: a line each, when the sandbox starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BRANCH = "a branch that is deployed here is built and run on this machine"


def lacks(*, engine: str, no_network: str | None, unconfined: str | None, lacks_nginx: bool) -> Iterator[str]:
    """Yield the lines on a machine whose containers run as processes.

    `engine` is why there is no engine, `no_network` why a task has no network of its own, `unconfined` why it
    has no file system of its own; each of these two is None if the task has it. `lacks_nginx`: a container of
    this workspace wants nginx, and it is not on PATH.
    """
    yield (
        f"containers run as processes of this machine, without an engine: {engine}. Of a Dockerfile only "
        "COPY and the Python packages are done, and CPU and memory are not limited"
    )
    if unconfined is None:
        yield f"{_BRANCH}, apart from your files (Security in copilot-sandbox's README says what it can do)"
    else:
        yield (
            f"{_BRANCH} with your rights, on your files: this system isolates it by no namespaces "
            f"({unconfined}). Deploy only branches that you would run by hand"
        )
    if no_network is not None:
        yield (
            f"tasks have no network of their own ({no_network}): your project reaches no embedded AWS, a "
            "relay stands in for nginx, and other users of this machine reach what a container listens on"
        )
    elif lacks_nginx:
        yield (
            "there is no nginx on PATH: for a container of nginx a relay sends everything to your service's "
            "port, static files too (Debian's package nginx has it, in /usr/sbin)"
        )
