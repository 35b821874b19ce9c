from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from copilot_sandbox.agent.agent import TaskAgent
from copilot_sandbox.agent.health import matches
from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import Container, HealthCheck, Service, TargetGroup, TaskReport
from tests.sandbox.fake_control_plane import (
    GROUP,
    SERVICE,
    FakeControlPlane,
    balanced,
    completed,
    container,
    grouped,
    over,
    owned,
    running_agent,
    server,
    service,
    shell,
    until,
)

WAYS: list[Way] = ["namespace", "loopback"]
FOREVER = shell("exec sleep 60")


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane(groups=grouped())


def web(release: str, **changes: object) -> Container:
    return container("web", server(), environment={"RELEASE": release, "ILL": "ill"}, **changes)


def rolling(number: int, **changes: object) -> Service:
    return service(web(str(number)), deployment=f"d{number}", load_balancing=balanced(), **changes)


def recreate(number: int, **changes: object) -> Service:
    return rolling(number, minimum_healthy_percent=0, maximum_percent=100, **changes)


def put(plane: FakeControlPlane, agent: TaskAgent, *services: Service) -> None:
    plane.wanted = list(services)
    agent.wake()


def spans(plane: FakeControlPlane) -> list[tuple[float, float]]:
    """When each task that has stopped began and ended to exist, in order."""
    return sorted((task.created_at, task.stopped_at or 0) for task in plane.stopped())


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize("way", WAYS)
def test_a_rolling_deployment_serves_all_the_time(plane: FakeControlPlane, tmp_path: Path, way: Way) -> None:
    with running_agent(plane, tmp_path, way) as agent:
        put(plane, agent, rolling(1))
        until(lambda: completed(agent, "d1"))
        put(plane, agent, rolling(2))
        healthy = []
        while not completed(agent, "d2"):
            healthy.append(any(each.state == "healthy" for each in agent.targets.reports().get(GROUP, [])))
            time.sleep(0.005)
        assert all(healthy)
        assert [task.task_definition_arn for task in plane.live()] == ["arn:task-definition/d2"]
        assert [task.stop_code for task in plane.stopped()] == ["ServiceSchedulerInitiated"]


def test_recreate_never_has_two_tasks(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running_agent(plane, tmp_path, "loopback") as agent:
        for number in (1, 2, 3):
            put(plane, agent, recreate(number))
            until(partial(completed, agent, f"d{number}"))
        put(plane, agent)
        until(lambda: agent.drained(SERVICE))
    found = spans(plane)
    assert len(found) == 3
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(found))


def test_three_failed_starts_trip_the_circuit_breaker_and_a_rollback_recovers(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    failing = container("startup", shell("echo relation does not exist >&2; exit 1"), essential=False)
    broken = service(
        web("2", depends_on={"startup": "SUCCESS"}),
        failing,
        deployment="d2",
        load_balancing=balanced(),
        minimum_healthy_percent=0,
        maximum_percent=100,
        circuit_breaker=True,
    )
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, recreate(1))
        until(lambda: completed(agent, "d1"))
        put(plane, agent, broken)
        until(lambda: agent.rollout(SERVICE, "d2")[0] == "FAILED")
        assert agent.rollout(SERVICE, "d2")[1] == "ECS deployment circuit breaker: tasks failed to start."
        assert plane.deployments[SERVICE][0].failed == 3
        assert plane.lines("startup") == ["relation does not exist"] * 3
        assert "deployment failed: tasks failed to start." in plane.events[-1]
        put(plane, agent, recreate(3))
        until(lambda: completed(agent, "d3"))


def test_a_missing_secret_stops_the_task_with_ecss_words(plane: FakeControlPlane, tmp_path: Path) -> None:
    one = container("web", FOREVER, secrets={"KEY": "/copilot/demo/test/secrets/KEY"})
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, service(one, circuit_breaker=True))
        until(lambda: agent.rollout(SERVICE, "ecs-svc/1")[0] == "FAILED")
        tasks = plane.stopped()
    assert len(tasks) == 3
    assert tasks[0].stop_code == "TaskFailedToStart"
    assert tasks[0].stopped_reason == (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
        "failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): The parameter "
        "/copilot/demo/test/secrets/KEY could not be found (variable KEY of container web)."
    )


def test_a_mistake_of_ours_stops_the_task_not_the_agent(plane: FakeControlPlane, tmp_path: Path) -> None:
    class Broken(FakeControlPlane):
        def secret(self, name: str) -> str:
            raise RuntimeError(name)

    plane = Broken()
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, service(container("web", FOREVER, secrets={"KEY": "KEY"})))
        assert over(plane).stopped_reason == "InternalError: RuntimeError: KEY"
        put(plane, agent, service(container("web", FOREVER), deployment="d2"))
        until(lambda: completed(agent, "d2"))


def test_a_task_whose_news_can_not_be_taken_in_is_replaced(tmp_path: Path) -> None:
    class Stumbling(FakeControlPlane):
        stumbles = 1

        def target_group(self, arn: str) -> TargetGroup | None:
            self.stumbles -= 1
            if self.stumbles == 0:
                raise RuntimeError(arn)
            return super().target_group(arn)

    plane = Stumbling(wanted=[rolling(1)], groups=grouped())
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent, "d1"))
        assert plane.stopped()[0].stopped_reason == f"InternalError: RuntimeError: {GROUP}"


def test_an_agent_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    TaskAgent(FakeControlPlane(), tmp_path, lambda _: None, owner_env={}, way="loopback").stop()


def test_the_agent_outlives_a_control_plane_that_fails(plane: FakeControlPlane, tmp_path: Path) -> None:
    class Moody(FakeControlPlane):
        failures = 3

        def services(self) -> list[Service]:
            self.failures -= 1
            if self.failures > 0:
                raise RuntimeError("not now")
            return super().services()

        def report_task(self, report: TaskReport) -> None:
            super().report_task(report)
            raise RuntimeError("not now")

    plane = Moody(wanted=[service(container("web", FOREVER))])
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))


def test_a_task_that_is_ill_after_its_grace_period_is_replaced(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.groups = grouped(interval=0.1, unhealthy_threshold=2)
    ill = tmp_path / "ill"
    one = container("web", server(), environment={"ILL": str(ill)})
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, service(one, load_balancing=balanced(), grace_period=0.5))
        until(lambda: completed(agent))
        ill.touch()
        task = over(plane)
        ill.unlink()
        assert task.stopped_reason == f"Task failed ELB health checks in (target-group {GROUP})"
        unhealthy = f"(task {task.id}) (port 8000) is unhealthy in (target-group {GROUP}) due to "
        reason = "(reason Health checks failed with these codes: [500])."
        assert [event for event in plane.events if event.endswith(unhealthy + reason)]
        until(lambda: [each for each in plane.live() if each.status == "RUNNING"])
        assert completed(agent)


def test_within_the_grace_period_an_ill_task_stays(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.groups = grouped(interval=0.1, unhealthy_threshold=2)
    one = container("web", server(), environment={"ILL": "/"})
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, service(one, load_balancing=balanced(), grace_period=60))
        until(lambda: any(each.state == "unhealthy" for each in plane.targets.get(GROUP, [])))
        time.sleep(0.3)
        assert plane.stopped() == []
        assert not completed(agent)


def test_one_pass_makes_a_fresh_target_healthy_and_thresholds_count_afterwards(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.groups = grouped(interval=0.3, unhealthy_threshold=2, healthy_threshold=3)
    ill = tmp_path / "ill"
    one = container("web", server(), environment={"ILL": str(ill)})
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, service(one, load_balancing=balanced(), grace_period=60))
        until(lambda: completed(agent))

        def state() -> str:
            return agent.targets.reports()[GROUP][0].state

        ill.touch()
        begun = time.monotonic()
        until(lambda: state() == "unhealthy")
        assert time.monotonic() - begun > 0.2
        ill.unlink()
        begun = time.monotonic()
        until(lambda: state() == "healthy")
        assert time.monotonic() - begun > 0.5


def test_scaling_to_zero_stops_all_tasks_and_back_starts_them(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, rolling(1, desired_count=2))
        until(lambda: completed(agent, "d1"))
        assert len({task.address for task in plane.live()}) == 2
        put(plane, agent, rolling(1, desired_count=0))
        until(lambda: agent.drained(SERVICE))
        until(lambda: completed(agent, "d1"))
        assert owned(tmp_path) == []
        assert plane.targets[GROUP] == []
        put(plane, agent, rolling(1, desired_count=1))
        until(lambda: len(plane.live()) == 1)
        until(lambda: completed(agent, "d1"))


def test_a_service_that_is_gone_leaves_no_task(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running_agent(plane, tmp_path, "namespace") as agent:
        put(plane, agent, rolling(1, desired_count=2))
        until(lambda: completed(agent, "d1"))
        assert not agent.drained(SERVICE)
        put(plane, agent)
        until(lambda: agent.drained(SERVICE))
        assert owned(tmp_path) == []
    assert [task.stopped_reason for task in plane.stopped()] == ["the service was deleted"] * 2


def test_a_new_deployment_supersedes_one_that_can_not_finish(plane: FakeControlPlane, tmp_path: Path) -> None:
    stuck = service(container("web", FOREVER), deployment="d2", load_balancing=balanced(), grace_period=3600)
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, rolling(1))
        until(lambda: completed(agent, "d1"))
        put(plane, agent, stuck)
        until(
            lambda: [
                each for each in plane.live() if each.task_definition_arn.endswith("d2") and each.started_at
            ]
        )
        put(plane, agent, rolling(3))
        until(lambda: completed(agent, "d3"))
        assert [task.task_definition_arn for task in plane.live()] == ["arn:task-definition/d3"]


def test_a_container_health_check_counts_for_the_rollout(plane: FakeControlPlane, tmp_path: Path) -> None:
    check = HealthCheck(("CMD-SHELL", "test -f ready"), interval=0.05, start_period=10)
    one = container("web", shell("sleep 0.5; touch ready; exec sleep 60"), health_check=check)
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, service(one))
        until(lambda: [each for each in plane.live() if each.status == "RUNNING"])
        assert not completed(agent)
        until(lambda: completed(agent))
        assert plane.live()[0].health == "HEALTHY"


def test_the_reports_of_a_task_tell_its_life(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, rolling(1, capacity_provider="FARGATE_SPOT"))
        until(lambda: completed(agent, "d1"))
        put(plane, agent)
        until(lambda: agent.drained(SERVICE))
    seen = list(dict.fromkeys((each.status, each.desired_status) for each in plane.history))
    assert seen[0] == ("PENDING", "RUNNING")
    assert ("RUNNING", "RUNNING") in seen
    assert seen[-1] == ("STOPPED", "STOPPED")
    (task,) = plane.stopped()
    assert len(task.id) == 32
    assert int(task.id, 16)
    assert task.address.startswith("10.0.")
    assert task.capacity_provider == "FARGATE_SPOT"
    assert task.created_at <= (task.started_at or 0) <= (task.stopped_at or 0)
    assert task.containers[0].image_digest == "sha256:" + "0" * 64


def test_the_agent_explains_why_nobody_answers(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.groups = grouped(interval=0.1)
    waiting = service(
        container("web", server(), environment={"ILL": "/"}, depends_on={"startup": "SUCCESS"}),
        container("startup", shell("sleep 0.5"), essential=False),
        load_balancing=balanced(),
        grace_period=60,
    )
    with running_agent(plane, tmp_path, "loopback") as agent:
        assert agent.explain(GROUP) == "no task is running"
        put(plane, agent, waiting)
        until(lambda: agent.explain(GROUP).startswith("startup is still running ("))
        until(lambda: agent.explain(GROUP).startswith("health check /healthz answers 500 ("))
        put(
            plane,
            agent,
            service(
                container("web", ("nope",)),
                deployment="d2",
                load_balancing=balanced(),
                circuit_breaker=True,
                minimum_healthy_percent=0,
            ),
        )
        until(lambda: agent.rollout(SERVICE, "d2")[0] == "FAILED")
        until(lambda: agent.explain(GROUP).startswith("no task is running; the last task stopped: Cannot"))
        assert 'exec: "nope": executable file not found' in agent.explain(GROUP)
        put(plane, agent, service(container("web", ("nope",)), load_balancing=balanced(), desired_count=0))
        until(lambda: agent.explain(GROUP).endswith("desired count is 0: the service sleeps"))


@pytest.mark.parametrize(
    ("matcher", "code", "expected"),
    [
        ("200", 200, True),
        ("200", 201, False),
        ("200,301", 301, True),
        ("200-299", 204, True),
        ("200-299", 300, False),
        ("200-299, 404", 404, True),
        ("", 200, False),
    ],
)
def test_a_matcher_is_a_list_of_codes_and_ranges(matcher: str, code: int, expected: bool) -> None:  # noqa: FBT001 -- a table's column
    assert matches(matcher, code) is expected


def once(identity: str, command: str) -> Service:
    return service(
        container("copy", shell(command)), deployment=identity, arn=f"arn:task/{identity}", only_task=identity
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_one_off_task_runs_once_whatever_its_exit_code(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    with running_agent(plane, tmp_path, way) as agent:
        put(plane, agent, once("a" * 32, "echo done; exit 3"))
        ended = over(plane)
        assert (ended.id, ended.containers[0].exit_code) == ("a" * 32, 3)
        agent.wake()
        time.sleep(0.5)  # a scheduler of a service would have started another one
        assert len(plane.tasks) == 1
        assert plane.lines("copy") == ["done"]
        assert plane.deployments.get(f"arn:task/{'a' * 32}", []) == []


def test_a_one_off_task_that_is_no_longer_wanted_is_ended(plane: FakeControlPlane, tmp_path: Path) -> None:
    with running_agent(plane, tmp_path, "loopback") as agent:
        put(plane, agent, once("b" * 32, "exec sleep 60"))
        until(lambda: [task for task in plane.live() if task.status == "RUNNING"])
        put(plane, agent)
        assert over(plane).stopped_reason == "Task stopped by user"
