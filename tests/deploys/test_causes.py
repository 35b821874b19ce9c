"""Deploys that cannot succeed: each is told with its true cause first, and with what to do.

The reasons are words of ECS, the load balancer and CloudFormation. Sources, below docs.aws.amazon.com:
AmazonECS/latest/developerguide/stopped-task-error-codes.html, …/service-event-messages-list.html and
…/resource-initialization-error.html; elasticloadbalancing/latest/application/target-group-health-checks.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from copilot_testenv.aws.stack import (
    Container,
    ContainerDefinition,
    Event,
    TargetHealth,
    Task,
    TaskDefinition,
)
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import health_watch, placement_watch
from copilot_testenv.deploys.watch import Watcher
from tests.clone import ROOT
from tests.deploys.test_placement_watch import NO_QUOTA, NO_ROOM
from tests.deploys.test_watch import BEFORE, OLD, Played, end, stopped, watcher
from tests.fakes import FakeReport

DOCUMENT = (ROOT / "docs/failures.md").read_text()
BOOTED = (Container("startup", "STOPPED", 0, ""), Container("web", "RUNNING", None, ""))
ESSENTIAL = "Essential container in task exited"
UNPULLED = "ResourceInitializationError: unable to pull secrets or registry auth"
LATE = "Task failed ELB health checks in (target-group arn:x)"


@dataclass
class Failing(Played):
    """What AWS answers about a deploy that fails; `lines` is the log of each container."""

    lines: Sequence[str] = ()
    not_essential: tuple[str, ...] = ("startup",)

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert group
        assert stream
        assert limit
        return list(self.lines)

    def task_definition(self, arn: str) -> TaskDefinition:
        assert arn
        names = [each.name for each in self.ran[-1].containers]
        parts = [ContainerDefinition(n, "", (), {}, {}, essential=n not in self.not_essential) for n in names]
        return TaskDefinition("256", "512", "", tuple(parts))


def runs(reason: str, *lines: str, state: str = "unhealthy", port: int = 8000) -> Failing:
    """A task whose target is not healthy."""
    task = Task("b" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", BOOTED)
    return Failing(OLD, [task], health=[TargetHealth(port, state, reason)], lines=lines)


def ended(task: Task, *lines: str) -> Failing:
    return Failing(OLD, [task], lines=lines)


def not_pulled(text: str) -> Failing:
    return ended(stopped(f"CannotPullContainerError: {text}", end("web")))


CAUSES: dict[str, tuple[Failing, str, str]] = {
    "the image crashes": (
        ended(stopped(ESSENTIAL, end("startup", 0), end("web", 1)), "Traceback (most recent call last):",
              "ModuleNotFoundError: No module named 'shop'"),
        "The container `web` ended with exit code 1: ModuleNotFoundError: No module named 'shop'", "",
    ),
    "a migration fails": (
        ended(stopped(ESSENTIAL, end("startup", 1), end("web")), "  Applying shop.0002_x...",
              'django.db.utils.ProgrammingError: relation "x" does not exist'),
        "The container `startup` ended with exit code 1: django.db.utils.ProgrammingError", "",
    ),
    "the page fails": (
        runs("Health checks failed with these codes: [500]", "Internal Server Error: /healthz"),
        "The container `web` was not healthy: Health checks failed with these codes: [500]", "",
    ),
    "ALLOWED_HOSTS": (
        runs("Health checks failed with these codes: [400]"),
        "The container `web` was not healthy: Health checks failed with these codes: [400]", "Healthz",
    ),
    "a redirect to https": (
        runs("Health checks failed with these codes: [301]"),
        "The container `web` was not healthy: Health checks failed with these codes: [301]",
        "SECURE_REDIRECT_EXEMPT",
    ),
    "no page at the health check's path": (
        runs("Health checks failed with these codes: [404]"),
        "The container `web` was not healthy: Health checks failed with these codes: [404]",
        "http.healthcheck.path",
    ),
    "the wrong port": (
        runs("Health checks failed", "[INFO] Listening at: http://0.0.0.0:9000 (7)"),
        "The container `web` was not healthy: Health checks failed", "listens on port 9000",
    ),
    "ALLOWED_HOSTS, told by ECS's event alone": (
        Failing(OLD, [stopped(LATE, end("startup", 0), end("web", 143))], ecs=[
            ("(service web) (task b) (port 8000) is unhealthy in (target-group arn:x) due to (reason Health "
             "checks failed with these codes: [400]).")]),
        "The container `web` ran and was not healthy", "Healthz",
    ),
    "loopback only": (
        ended(stopped(LATE, end("startup", 0), end("web", 143)), "[INFO] Listening at: http://127.0.0.1:8000"),
        "The container `web` ran and was not healthy", "",
    ),
    "no room on Spot": (Failing(OLD, ecs=[NO_ROOM]), f"ECS placed no task: {NO_ROOM}", "spot-first"),
    "the quota": (Failing(OLD, ecs=[NO_QUOTA]), f"ECS placed no task: {NO_QUOTA}", "check --account"),
    "no addresses": (
        ended(stopped("Unexpected EC2 error while attempting to Create Network Interface with public IP "
                      "assignment enabled in subnet 'subnet-0a1b': InsufficientFreeAddressesInSubnet",
                      end("web"))),
        "The task stopped: Unexpected EC2 error", "no address left",
    ),
    "a secret is missing": (
        ended(stopped(f"{UNPULLED}: unable to retrieve secrets from ssm: The parameter /x could not be "
                      "found.",
                      end("web"))),
        "The task stopped: ResourceInitializationError", "`copilot secret init`",
    ),
    "SSM throttles": (
        ended(stopped(f"{UNPULLED}: unable to retrieve secrets from ssm: ThrottlingException: Rate exceeded",
                      end("web"))),
        "The task stopped: ResourceInitializationError", "fewer branches at a time",
    ),
    "no way to AWS": (
        ended(stopped(f"{UNPULLED}: execution resource retrieval failed: unable to retrieve ecr registry "
                      "auth: RequestError: send request failed caused by: Post https://api.ecr: i/o timeout",
                      end("web"))),
        "The task stopped: ResourceInitializationError", "a route to the internet",
    ),
    "no image": (
        not_pulled("demo/web:x: not found"),
        "The task stopped: CannotPullContainerError: demo/web:x: not found", "The image cannot be pulled",
    ),
    "another platform, by the registry": (
        not_pulled("image Manifest does not contain descriptor matching platform 'linux/amd64'"),
        "The task stopped: CannotPullContainerError", "another CPU architecture",
    ),
    "another platform, by the start": (
        ended(stopped(ESSENTIAL, end("web", 255)), "exec /usr/local/bin/gunicorn: exec format error"),
        "The container `web` ended with exit code 255", "another CPU architecture",
    ),
    "out of memory": (
        ended(stopped("OutOfMemoryError: container killed", end("web", 137, "OutOfMemoryError"))),
        "The container `web` ended with exit code 137 (OutOfMemoryError)", "more `memory`",
    ),
    "the database is not reached": (
        ended(stopped(ESSENTIAL, end("startup", 1), end("web")), "Traceback (most recent call last):",
              "django.db.utils.OperationalError: connection to server at x failed: timeout expired"),
        "The container `startup` ended with exit code 1: django.db.utils.OperationalError", "check --account",
    ),
    "the database's name is not known": (
        ended(stopped(ESSENTIAL, end("startup", 1), end("web")),
              "psycopg.OperationalError: [Errno -2] Name or service not known"),
        "The container `startup` ended with exit code 1: psycopg.OperationalError", "is not known",
    ),
    "a sidecar ends well": (
        ended(stopped(ESSENTIAL, end("startup", 0), end("redis", 0), end("web", 143))),
        "The container `redis` ended with exit code 0", "",
    ),
    "a health check's command is missing": (
        ended(stopped("Task failed container health checks", end("startup", 0),
                      Container("redis", "STOPPED", 143, "", "UNHEALTHY"), end("web", 143))),
        "The container `redis` ran and was not healthy", "must be in the image",
    ),
    "the command is not in the image": (
        ended(stopped("CannotStartContainerError: gunicorn: executable file not found in $PATH",
                      end("web", None, "CannotStartContainerError: executable file not found in $PATH"))),
        "The container `web` did not run: CannotStartContainerError", "not on its PATH",
    ),
    "the command is not executable": (
        ended(stopped("CannotStartContainerError: x",
                      end("web", None, 'CannotStartContainerError: exec: "/srv/run.sh": permission denied'))),
        "The container `web` did not run: CannotStartContainerError", "git update-index --chmod=+x",
    ),
    "an old Lambda runtime": (
        Failing(OLD, happened=[Event(BEFORE + timedelta(1), "RulePriorityFunction", "CREATE_FAILED",
                                     "The runtime parameter of nodejs16.x is no longer supported")]),
        "The first failed CloudFormation event: RulePriorityFunction CREATE_FAILED", "invoke check --fix",
    ),
    "an addon of the environment that is not deployed": (
        Failing(OLD, happened=[Event(BEFORE + timedelta(1), "TaskDefinition", "CREATE_FAILED",
                                     "No export named demo-test-TestMediaBucket found.")]),
        "The first failed CloudFormation event: TaskDefinition CREATE_FAILED", "copilot env deploy",
    ),
}  # fmt: skip


def watched(settings: Settings, aws: Failing, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    """The watch of a deploy for ninety seconds."""
    ran, happened = aws.ran, aws.happened
    aws.ran, aws.happened = [], []  # before the deploy
    made = watcher(settings, aws)
    aws.ran, aws.happened = ran, happened
    made.placement._asked = made.health._asked = -1000
    for now in range(0, 91, 5):
        for module in (placement_watch, health_watch):
            monkeypatch.setattr(module.time, "monotonic", lambda now=now: 1000 + now)
        made._look()
    return made


@pytest.mark.parametrize("cause", CAUSES)
def test_the_true_cause_is_told_first_and_within_ninety_seconds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    aws, first, cure = CAUSES[cause]
    aws.happened = [
        *aws.happened,
        Event(BEFORE + timedelta(2), "Service", "CREATE_FAILED", "Circuit Breaker"),
    ]
    made = watched(settings, aws, monkeypatch)
    report = made.session.report
    assert isinstance(report, FakeReport)
    if "CloudFormation" not in first:
        words = ("it stopped: ", "not healthy", "places no", "Error: ")
        assert any(word in line for line in report.said for word in words)
    if aws.health:
        made.remember_unfinished()
    why = made.why().strip()
    assert why.startswith(first), why
    assert cure in why, why
    if cause in {"no way to AWS", "SSM throttles"}:  # the secret is there
        assert "copilot secret init" not in why


def test_each_cause_is_in_the_document() -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| ")]
    assert len(CAUSES) >= 12
    for _, first, _ in CAUSES.values():
        words = first.replace("`web`", "`NAME`").replace("`redis`", "`NAME`").replace("`startup`", "`NAME`")
        begin = words.split(":")[0].split(" (")[0].rstrip(" 0123456789")
        assert any(begin in row for row in rows), begin
