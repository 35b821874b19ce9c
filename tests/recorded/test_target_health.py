"""A target's health is told in ELB's codes and words.

Sources: "Health check reason codes" of doc_source/target-group-health-checks.md in
awsdocs/elb-application-load-balancers-user-guide; answers of AWS in
python/cross_service/resilient_service/README.md of awsdocs/aws-doc-sdk-examples.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from copilot_sandbox.agent.health import HealthChecks
from copilot_sandbox.agent.targets import Targets
from copilot_sandbox.model import TargetGroup
from tests.sandbox.town import Upstream, says


def refused(*_: object) -> socket.socket:
    raise ConnectionRefusedError


def late(*_: object) -> socket.socket:
    raise TimeoutError


def answering(status: str) -> Callable[..., socket.socket]:
    def connect(*_: object) -> socket.socket:
        server = Upstream(says(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()))
        return socket.create_connection(("127.0.0.1", server.port), 5)

    return connect


def told(connect: Callable[..., socket.socket], *, threshold: int) -> tuple[str, str | None, str | None]:
    """The state, the code and the description of a target that was checked three times."""
    group = TargetGroup("arn:x", 8000, interval=0.02, unhealthy_threshold=threshold, healthy_threshold=2)
    checks = 0

    def counted(*arguments: object) -> socket.socket:
        nonlocal checks
        checks += 1
        return connect(*arguments)

    targets = Targets(lambda: None)
    health = HealthChecks(targets, counted, lambda _: group, lambda *_: "")
    health.watch(targets.register(group, "10.0.0.7", 8000))
    deadline = time.monotonic() + 5
    while checks < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    health.stop()
    (found,) = targets.reports()["arn:x"]
    return found.state, found.code, found.reason


@pytest.mark.parametrize(
    ("connect", "code", "description"),
    [
        (answering("500 x"), "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"),
        (answering("302 x"), "Target.ResponseCodeMismatch", "Health checks failed with these codes: [302]"),
        (late, "Target.Timeout", "Request timed out"),
        (refused, "Target.FailedHealthChecks", "Health checks failed"),
        (answering("nonsense"), "Target.FailedHealthChecks", "Health checks failed"),
    ],
)
def test_an_unhealthy_target_has_the_code_and_the_words_of_elb(
    connect: Callable[..., socket.socket], code: str, description: str
) -> None:
    assert told(connect, threshold=2) == ("unhealthy", code, description)


def test_a_target_of_which_nothing_is_decided_has_those_of_its_first_checks() -> None:
    wanted = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
    assert told(answering("500 x"), threshold=1000) == wanted


def test_a_healthy_target_has_none() -> None:
    assert told(answering("200 OK"), threshold=2) == ("healthy", None, None)


def test_one_that_is_taken_out_drains() -> None:
    targets = Targets(lambda: None)
    targets.register(TargetGroup("arn:x", 8000), "10.0.0.7", 8000)
    targets.drain("10.0.0.7")
    (found,) = targets.reports()["arn:x"]
    wanted = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
    assert (found.state, found.code, found.reason) == wanted
