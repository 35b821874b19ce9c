from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from signal import SIGINT, Signals

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Task
from copilot_testenv.copilot.commands import OneOff
from copilot_testenv.deployers import one_off_stack
from copilot_testenv.deployers.service_log import Log

GROUP = "/copilot/demo-test-web"
STREAMS = {
    "copilot/web/1": [(1, "one"), (4, "four")],
    "copilot/redis/1": [(2, "two")],
    "copilot/web/2": [(3, "three")],
    "copilot/web-proxy/1": [(5, "five")],
}


@dataclass
class Account(Aws):
    """An account with these log streams; a second look finds what `later` has."""

    later: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)  # the states of a one-off task, one a look

    def streams(self, group: str, prefix: str) -> list[str]:
        assert group == GROUP
        return [name for name in STREAMS if name.startswith(prefix)]

    def raw_events(
        self, group: str, stream: str, limit: int, token: str = "", *, from_start: bool = False
    ) -> tuple[list[tuple[int, str]], str]:
        del group, from_start
        return (self.later.pop(stream, []) if token else STREAMS.get(stream, [])[-limit:]), "next"

    def tasks_of_family(self, cluster: str, family: str) -> list[Task]:
        assert (cluster, family) == ("cluster", "copilot-group")
        return [Task("1", self.states.pop(0), "", "", None, "")]


def read(container: str = "", limit: int = 9, *tasks: str) -> list[str]:
    heard: list[str] = []
    assert Log(Account({}), GROUP, container, tasks).last(limit, heard.append).ok
    return [json.loads(line)["message"] for line in heard]


def test_the_last_lines_come_in_the_order_of_time() -> None:
    assert read() == ["one", "two", "three", "four", "five"]
    assert read(limit=2) == ["four", "five"]
    assert read("web") == ["one", "three", "four"]  # and nothing of web-proxy
    assert read("", 9, "2") == ["three"]


def after(looks: int) -> Iterator[Signals | None]:
    yield from [None] * looks
    yield SIGINT


def test_followed_lines_are_those_from_now_on() -> None:
    account, due, heard = Account({}), after(2), list[str]()
    account.later = {"copilot/web/1": [(9, "new")]}
    result = Log(account, GROUP, "web", ()).follow(heard.append, lambda: next(due), pause=0)
    assert [json.loads(line) for line in heard] == [
        {"logStreamName": "copilot/web/1", "message": "new", "timestamp": 9}
    ]
    assert not result.ok


def test_a_one_off_task_is_followed_until_it_has_stopped() -> None:
    STREAMS["copilot-task/group/1"] = [(1, "begun\x1b[31m")]
    try:
        account, heard = Account({}), list[str]()
        account.states, account.later = ["RUNNING", "STOPPED"], {"copilot-task/group/1": [(2, "done")]}
        assert one_off_stack.follow(
            account, "group", "cluster", "arn/1", heard.append, lambda: None, pause=0
        ).ok
    finally:
        del STREAMS["copilot-task/group/1"]
    assert [line.partition(" ")[2] for line in heard][-1] == "done"
    assert heard[0].startswith("copilot-task/group/1 begun")
    assert "\x1b" not in heard[0]


def test_the_stack_of_a_one_off_task_has_copilots_names_and_the_services_role() -> None:
    task = OneOff("image", ("a, b",), "256", "512", "", {"B": "1"}, {"A": "/p"}, execution_role="role")
    found = one_off_stack.template("demo-test-web-copy-db", task, "eu-west-1")["Resources"]
    definition = found["TaskDefinition"]["Properties"]
    assert definition["Family"] == "copilot-demo-test-web-copy-db"
    assert definition["ExecutionRoleArn"] == "role"
    assert "TaskRoleArn" not in definition
    (container,) = definition["ContainerDefinitions"]
    assert container["Command"] == ["a, b"]
    assert "EntryPoint" not in container
    assert found["LogGroup"]["Properties"]["LogGroupName"] == "/copilot/demo-test-web-copy-db"
