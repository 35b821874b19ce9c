"""The last lines of a deployment's containers: `invoke logs`."""

from __future__ import annotations

import math
import re

from scripts import display
from scripts.command import catching_signals
from scripts.environment import Bench, announce, carrying, enter
from scripts.errors import Failed, Interrupted, UsageError


def logs(bench: Bench, *, name: str, container: str, limit: str, follow: bool) -> None:
    """Print the last lines of the service's containers."""
    if not re.fullmatch(r"[1-9]\d{0,3}|10000", limit):
        raise UsageError(f"--limit {limit} is not a number of lines from 1 to 10000.")
    announce(bench)
    place = enter(bench, start=False)
    if place:
        bench, place = carrying(bench, place, name)
    stack = place.aws.stack(bench.settings.stack_name) if place else None
    if not place or not stack or not (stack.live or stack.changing):
        raise Failed("Nothing is deployed, so there are no logs: `invoke deploy-test --branch B`.")
    with catching_signals(math.inf, lambda _: None) as stop:
        result = bench.shell.stream(
            place.copilot.service_logs(container, int(limit), follow=follow),
            lambda line: bench.report.data(display.block(line)),
            stop.signal_due,
        )
    if stop.interrupted:
        raise Interrupted("Interrupted.")
    if not result.ok:
        raise Failed(f"Copilot could not show the logs (exit code {result.returncode}): see the lines above.")
