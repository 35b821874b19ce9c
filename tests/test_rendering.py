from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv import rendering
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import RealShell, Result
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell


def test_short_tags_are_read_as_the_functions_they_stand_for() -> None:
    text = (
        "A: !Ref x\nB: !GetAtt a.b.c\nC: !Sub ['${x}', {x: !Ref y}]\nD: !If [q, !Ref z, 1]\nE: 2012-10-17\n"
    )
    assert Template(text, {}).body == {
        "A": {"Ref": "x"},
        "B": {"Fn::GetAtt": ["a", "b.c"]},
        "C": {"Fn::Sub": ["${x}", {"x": {"Ref": "y"}}]},
        "D": {"Fn::If": ["q", {"Ref": "z"}, 1]},
        "E": "2012-10-17",
    }


@pytest.mark.parametrize(
    ("aliases", "domain"),
    [
        ([], ""),
        (["shop.example.com"], "shop.example.com"),
        (["www.example.com", ["api.example.com", "example.com"]], "example.com"),
        ([[{"name": "a.test.example.co.uk", "hosted_zone": "Z1"}], "b.example.co.uk"], "example.co.uk"),
        (["a.example.com", "b.example.org"], ""),
        (["${ALIAS}"], ""),
    ],
)
def test_the_domain_is_what_all_aliases_lie_below(aliases: list[Any], domain: str) -> None:
    manifests: list[Mapping[str, Any]] = [
        {"environments": {"test": {"http": {"alias": one}}}} for one in aliases
    ]
    assert rendering.domain_of(manifests) == domain
    assert rendering.domain_of(manifests, "given.example") == (
        "given.example" if aliases and aliases != ["${ALIAS}"] else ""
    )


def test_environments_without_a_manifest_are_those_that_services_name(tmp_path: Path) -> None:
    assert rendering.environments_of(tmp_path, [{"environments": {"test": {}, 7: {}}}, {}]) == ["test"]


def test_topics_are_what_services_publish_to_and_what_can_be_no_name_is_none() -> None:
    good = {"name": "api", "publish": {"topics": [{"name": "a"}, {"name": "b", "fifo": True}]}}
    odd: list[dict[str, Any]] = [
        {"publish": 7},
        {"publish": {"topics": {"a": 1}}},
        {"name": ["x"], "publish": good["publish"]},
    ]
    hostile = {"name": "api", "publish": {"topics": [7, None, {"name": None}, {"name": "a/../b"}]}}
    assert rendering._topics([good, *odd, hostile]) == [("api", "a"), ("api", "b.fifo")]


def test_copilots_reason_is_one_line_without_sign_and_colour(settings: Settings) -> None:
    said = "Note: something\n\x1b[31m✘\x1b[0m  validate manifest:\n    no such key\n"
    shell = FakeShell({"package": Result(1, stderr=said)})
    found = Renderer(settings, shell, {}, {}).service(settings.root, "web", "test")
    assert found == Refusal("validate manifest: no such key")


def test_where_copilot_panics_its_stack_is_not_told(settings: Settings) -> None:
    said = (
        "panic: nil pointer\n[signal SIGSEGV]\n\ngoroutine 1 [running]:\nmanifest.applyEnv(0xc0)\n\t/x.go:1\n"
    )
    shell = FakeShell({"package": Result(2, stderr=said)})
    found = Renderer(settings, shell, {}, {}).service(settings.root, "web", "test")
    assert found == Refusal("panic: nil pointer [signal SIGSEGV]")


def test_a_service_is_not_rendered_for_an_environment_that_cannot_be_made(settings: Settings) -> None:
    shell = FakeShell()
    found = Renderer(settings, shell, {}, {"test": "no subnets"}).service(settings.root, "web", "test")
    assert found == Refusal("the environment test cannot be deployed, so no service can be: no subnets")
    assert shell.ran == []


def test_a_package_that_leaves_no_template_is_a_failure(settings: Settings) -> None:
    with pytest.raises(Failed, match="left no template"):
        Renderer(settings, FakeShell(), {}, {}).environment(settings.root, "test")


def test_aliases_jobs_workers_and_broken_environments_are_rendered_by_the_real_copilot(
    workspace: Path,
) -> None:
    """One embedded AWS: an alias needs a domain, a job its own command, a worker the topics of others.

    One environment cannot be made.
    """
    web = workspace / "copilot/web/manifest.yml"
    web.write_text(
        "name: web\ntype: Load Balanced Web Service\nimage: {location: nginx, port: 80}\ncpu: 256\n"
        "memory: 512\ncount: 1\nhttp: {path: /, alias: www.example.com}\nenvironments: {test: {}}\n"
    )
    (workspace / "copilot/tidy").mkdir()
    (workspace / "copilot/tidy/manifest.yml").write_text(
        "name: tidy\ntype: Scheduled Job\nimage: {location: busybox}\non: {schedule: '@daily'}\n"
        "publish: {topics: [{name: done}, {name: in-order, fifo: true}]}\n"
    )
    (workspace / "copilot/worker").mkdir()
    (workspace / "copilot/worker/manifest.yml").write_text(
        "name: worker\ntype: Worker Service\nimage: {location: busybox}\nsubscribe:\n  topics:\n"
        "    - {name: done, service: tidy}\n    - {name: in-order, service: tidy, queue: {fifo: true}}\n"
    )
    stage = workspace / "copilot/environments/stage/manifest.yml"
    stage.write_text("name: stage\ntype: Environment\nnetwork: {vpc: {id: vpc-1}}\n")
    session = Session(load(workspace, {}), RealShell(), FakeReport(), {})
    with rendering.open_renderer(session) as renderer:
        found = renderer.service(workspace, "web", "test")
        job = renderer.service(workspace, "tidy", "test")
        worker = renderer.service(workspace, "worker", "test")
        broken = renderer.service(workspace, "web", "stage")
    assert isinstance(found, Template)
    assert found.parameters["HTTPSEnabled"] == "true"
    assert isinstance(job, Template)
    assert "StateMachine" in job.resources
    assert isinstance(worker, Template)
    assert "tidydoneSNSTopicSubscription" in worker.resources
    assert isinstance(broken, Refusal)
    assert "\n" not in broken.why
    assert "stage cannot be deployed" in broken.why
