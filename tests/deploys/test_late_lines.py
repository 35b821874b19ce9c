"""The failing container's last lines are told also where AWS shows them late, or of an earlier task only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.container_log import lines_of_ended
from tests.deploys.test_causes import ESSENTIAL
from tests.deploys.test_watch import OLD, Played, at, end, looks, stopped, watcher

CRASHED = stopped(ESSENTIAL, end("startup", 0), end("web", 1))
CHECKS = ['"GET /healthz HTTP/1.1" 500 "ELB-HealthChecker/2.0"'] * 9


@dataclass
class Late(Played):
    """An AWS with these lines in the streams of tasks; each question before that is answered without any."""

    logs: dict[str, list[str]] = field(default_factory=dict)
    before: int = 0

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert group
        assert limit
        self.before -= 1
        return [] if self.before >= 0 else self.logs.get(stream.rpartition("/")[2], [])


def why(settings: Settings, aws: Late) -> str:
    """The end of a deploy of which these tasks have failed one after the other."""
    tasks, aws.ran = aws.ran, []
    made = watcher(settings, aws)
    for number in range(len(tasks)):
        aws.ran = tasks[: number + 1]
        looks(made, aws, at("UPDATE_IN_PROGRESS"))
    return made.why()


def test_lines_that_arrive_after_ecs_says_that_the_task_has_stopped_are_told(settings: Settings) -> None:
    aws = Late(OLD, [CRASHED], logs={CRASHED.id: ["no module named shop"]}, before=1)
    assert "`web` ended with exit code 1. Its last lines:\n  no module named shop" in why(settings, aws)


def test_the_lines_of_the_task_before_are_told_where_the_last_one_has_none(settings: Settings) -> None:
    second = replace(CRASHED, id="c" * 32)
    aws = Late(OLD, [CRASHED, second], logs={CRASHED.id: ["no module named shop"]})
    assert "Its last lines:\n  no module named shop" in why(settings, aws)


def test_the_lines_of_another_container_are_not_told_in_place_of_the_last_ones(settings: Settings) -> None:
    second = replace(CRASHED, id="c" * 32, containers=(end("startup", 2),))
    aws = Late(OLD, [CRASHED, second], logs={CRASHED.id: ["of another container"]})
    told = why(settings, aws)
    assert (
        "`startup` ended with exit code 2. Its last lines:\n  (none has arrived in CloudWatch Logs)" in told
    )


def test_a_container_that_wrote_of_health_checks_only_is_told_with_some_of_them(settings: Settings) -> None:
    aws = Late(OLD, [CRASHED], logs={CRASHED.id: CHECKS})
    assert f"Its last lines:\n  {CHECKS[0]} (3 times)" in why(settings, aws)
    aws = Late(OLD, [CRASHED], logs={CRASHED.id: [*CHECKS, "bye", *CHECKS]})
    assert "Its last lines:\n  bye" in why(settings, aws)


def test_the_lines_of_a_container_that_has_just_ended_are_awaited_for_a_while(settings: Settings) -> None:
    aws = Late(OLD, logs={CRASHED.id: ["no broker"]}, before=2)
    assert lines_of_ended(aws, settings, "web", CRASHED) == ["no broker"]
    assert lines_of_ended(Late(OLD), replace(settings, target="sandbox"), "web", CRASHED) == []
