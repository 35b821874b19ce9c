"""Keys that a block lacks, and keys that exclude each other: found in the manifest, without rendering."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import (
    beside,
    combinations,
    limits,
    location,
    registration,
    silence,
    templates,
    workflow,
)
from copilot_testenv.check import project as projects
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.copilot.template_lint import LintFinding
from copilot_testenv.core.settings import load
from tests.check.projects import with_manifest
from tests.check.rendered import MARK

WEB = "name: web\ntype: Load Balanced Web Service\nimage: {build: Dockerfile, port: 8000}\nhttp: {path: /}\n"
API = "name: web\ntype: Backend Service\nimage: {build: Dockerfile, port: 8000}\n"
WORKER = "name: web\ntype: Worker Service\nimage: {build: Dockerfile}\n"
JOB = 'name: web\ntype: Scheduled Job\nimage: {build: Dockerfile}\non: {schedule: "@daily"}\n'
SITE = "name: web\ntype: Static Site\n"
APP_RUNNER = "name: web\ntype: Request-Driven Web Service\nimage: {build: Dockerfile, port: 8000}\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for folder in ("web", "environments/test", "environments/stage"):
        (tmp_path / "copilot" / folder).mkdir(parents=True)
    for name in ("test", "stage"):
        text = f"name: {name}\ntype: Environment\n"
        (tmp_path / f"copilot/environments/{name}/manifest.yml").write_text(text)
    (tmp_path / "copilot/.workspace").write_text("application: demo\n")
    (tmp_path / "Dockerfile").write_text("FROM python:3.13\n")
    return tmp_path


def found(project: Project) -> list[Finding]:
    return workflow.judge(project, combinations.RULES)


def lines(project: Project) -> list[int]:
    return [one.line for one in found(project)]


@pytest.mark.parametrize(
    "text",
    [
        f"name: web\ntype: Load Balanced Web Service {MARK}\nhttp: {{path: /}}\n",
        f"name: web\ntype: Load Balanced Web Service {MARK}\nimage: {{location: 'nginx:1.29', port: 80}}\n",
        f"name: web\ntype: Scheduled Job {MARK}\nimage: {{build: Dockerfile}}\n",
        f"name: web\ntype: Load Balanced Web Service\nhttp: {{path: a}}\nimage: {{build: a}} {MARK}\n",
        f"name: web\ntype: Worker Service\nimage: {{healthcheck: {{command: [a]}}}} {MARK}\n",
        f"{WEB}sidecars:\n  redis: {MARK}\n    port: 6379\n",
        f"{WEB}sidecars:\n  redis:\n    image: {MARK}\n      cache_from: [a]\n",
        f"{API}http: {MARK}\n  healthcheck: /\n",
        f"{WEB.replace('http: {path: /}', 'http: true ' + MARK)}",
        f"name: web\ntype: Backend Service\nhttp: {{path: /}}\nimage: {{build: Dockerfile}} {MARK}\n",
        f"{WEB}count:\n  range: 1-4 {MARK}\n",
        f"{WEB}count:\n  cpu_percentage: 70 {MARK}\n",
        f"{WORKER}count:\n  range: 1-4\n  queue_delay: {MARK}\n    acceptable_latency: 10m\n",
        f"{WEB}platform: {MARK}\n  osfamily: linux\n",
        f"{WEB}storage:\n  volumes:\n    a: {MARK}\n      read_only: true\n",
        f"{WEB}storage:\n  volumes:\n    a:\n      path: /a\n      efs:\n        uid: 1 {MARK}\n",
        f"{WEB}publish:\n  topics:\n    - fifo: true {MARK}\n",
        f"{WORKER}subscribe:\n  topics:\n    - name: orders {MARK}\n",
        f"{SITE}files: [] {MARK}\n",
        f"{SITE}files:\n  - source: site\nhttp:\n  certificate: arn {MARK}\n",
        f"{WEB}environments:\n  stage:\n    nlb: {MARK}\n      target_port: 8000\n",
        f"{WEB}environments:\n  test:\n    count:\n      range: 1-2 {MARK}\n",
    ],
)
def test_a_key_that_a_block_lacks_is_found_at_the_block(workspace: Path, text: str) -> None:
    expected = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(MARK)]
    project = with_manifest(workspace, text)
    assert lines(project) == expected
    assert {one.rule for one in found(project)} == {"required"}


@pytest.mark.parametrize(
    "text",
    [
        f"{API.replace('build: Dockerfile', 'build: Dockerfile, location: a')}",
        f"{WEB}count:\n  spot: 1\n  range: 1-4 {MARK}\n  cpu_percentage: 70\n",
        (
            f"{WEB}storage:\n  volumes:\n    a:\n      path: /a\n      efs:\n        id: fs-1\n"
            f"        uid: 1 {MARK}\n        gid: 1\n"
        ),
        f"{WEB}secrets:\n  KEY:\n    secretsmanager: a\n    from_cfn: b {MARK}\n",
        (
            f"{WORKER}subscribe:\n  queue:\n    fifo:\n      high_throughput: true\n"
            f"      throughput_limit: perQueue {MARK}\n"
        ),
        (
            f"{WEB}sidecars:\n  a: {{image: 'redis:7.2', port: 6379}}\n"
            f"  b:\n    image: redis:7.2\n    port: 6379/udp {MARK}\n"
        ),
        f"{WEB}sidecars:\n  a:\n    image: redis:7.2\n    port: 8000 {MARK}\n",
    ],
)
def test_keys_that_exclude_each_other_are_found(workspace: Path, text: str) -> None:
    expected = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(MARK)] or [3]
    project = with_manifest(workspace, text)
    assert lines(project) == expected
    assert {one.rule for one in found(project)} == {"exclusive"}


def test_targets_that_are_not_there_or_have_no_port_are_found(workspace: Path) -> None:
    sidecars = "sidecars:\n  nginx: {image: 'nginx:1.29'}\n"
    text = WEB.replace("{path: /}", "{path: /, target_container: NAME}") + sidecars
    for name, what in (
        ("ngnix", "there is no container ngnix"),
        ("nginx", "the container nginx has no port"),
    ):
        (one,) = found(with_manifest(workspace, text.replace("NAME", name)))
        assert one.line == 4
        assert one.what.startswith(what)
    assert not found(with_manifest(workspace, text.replace("NAME", "web")))


@pytest.mark.parametrize("holder", ["storage", "sidecar"])
def test_two_mounts_at_one_path_are_found(workspace: Path, holder: str) -> None:
    volumes = "storage:\n  volumes:\n    a: {path: /data}\n    b: {path: /data/}\n"
    points = [{"source_volume": name, "path": "/x"} for name in "ab"]
    sidecars = f"sidecars:\n  c:\n    image: redis:7.2\n    mount_points: {points}\n"
    text = volumes if holder == "storage" else volumes.replace("/data/", "/b") + sidecars
    (one,) = found(with_manifest(workspace, WEB + text))
    assert (one.rule, one.line) == ("volume", 8 if holder == "storage" else 12)


@pytest.mark.parametrize(
    "text",
    [
        WEB.replace("{path: /}", "{path: ''}"),
        WEB.replace("http: {path: /}", "http: false\nnlb: {port: 443/tls}"),
        WEB + "sidecars:\n  a: {image: {build: Dockerfile}}\n  b: {image: 'redis:7.2', port: 6379}\n",
        WEB + "count: {spot: 2}\n",
        WEB + "count: {spot: 2}\nenvironments:\n  test:\n    count: {range: 1-2, cpu_percentage: 70}\n"
        "  stage: {count: 1}\n",
        # The base alone lacks them; each environment adds them.
        (
            "name: web\ntype: Backend Service\nenvironments:\n"
            "  test: &own\n    image: {location: 'nginx:1.29'}\n  stage: *own\n"
        ),
        API + "environments:\n  test: {image: {location: 'nginx:1.29'}}\n",
        API + "storage:\n  volumes:\n    a: {path: /a, efs: true}\n    b: {path: /b}\n",
        (
            "name: web\ntype: Backend Service\nimage: {build: Dockerfile}\n"
            "http: {path: /, target_container: proxy}\nsidecars:\n  proxy: {image: 'nginx:1.29', port: 80}\n"
        ),
        WORKER + "sidecars:\n  a: {image: 'redis:7.2'}\nsubscribe: {queue: {timeout: 30s}}\n",
        JOB,
        APP_RUNNER + "count: high-availability/3\n",
        SITE + "files: [{source: site}]\nhttp: {alias: a.example.com}\n",
    ],
)
def test_valid_combinations_have_no_finding(workspace: Path, text: str) -> None:
    assert found(with_manifest(workspace, text)) == []


def test_copilots_verdict_on_the_same_cause_is_left_out(workspace: Path) -> None:
    """The cause stands at the type's line, since the block is not there."""
    project = with_manifest(workspace, "name: web\ntype: Worker Service\nenvironments:\n  test: {count: 1}\n")
    why = 'validate "image": must specify one of "build" and "location"'
    document = project.services["web"]
    line = location.of_verdict(document, ["test"], why)
    assert line == 2
    verdict = Finding(document.path, line, "copilot", "error", "Copilot does not deploy this to test", why)
    told = silence.finish(workspace, {*found(project), verdict})
    assert [one.rule for one in told] == ["required"]


def test_the_line_of_a_tab_is_that_in_which_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yml"
    file.write_text("name: web\nvariables:\n  A: b\n\tC: d\n")
    why = "while scanning a plain scalar, line 3, column 6 found a tab character, line 4, column 1"
    assert location.of_yaml(file, why) == 4


@pytest.mark.parametrize(
    ("indent", "cure"), [("\t", "with spaces, because YAML allows no tab"), (" ", "look at")]
)
def test_a_tab_in_the_indentation_is_called_one(workspace: Path, indent: str, cure: str) -> None:
    text = f"name: web\nhttp:\n  path: /\n{indent}alias: a.example.com\n"
    (workspace / "copilot/web/manifest.yml").write_text(text)
    (found,) = projects.read(load(workspace, {})).unreadable
    assert (found.rule, cure in found.instead) == ("yaml", True)


def test_a_vpcs_range_is_judged_without_subnets(workspace: Path) -> None:
    file = workspace / "copilot/environments/test/manifest.yml"
    file.write_text("name: test\ntype: Environment\nnetwork:\n  vpc:\n    cidr: 10.0.0.0/33\n")
    (one,) = registration.networks(with_manifest(workspace, WEB))
    assert (one.path, one.line) == ("copilot/environments/test/manifest.yml", 5)


def test_a_path_from_the_root_is_one_below_the_workspace(workspace: Path) -> None:
    project = with_manifest(workspace, f"{SITE}files:\n  - source: /etc\n  - source: /copilot\n")
    assert [one.line for one in beside.files(project)] == [4]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{APP_RUNNER}count: 3\n", 4),
        (f"{APP_RUNNER}platform: linux/amd64\n", 4),
        (f"{WEB}logging:\n  env_file: log.txt\n", 6),
    ],
)
def test_values_that_copilot_refuses_are_found(workspace: Path, text: str, line: int) -> None:
    (one,) = limits.values(with_manifest(workspace, text))
    assert (one.rule, one.line) == ("limit", line)
    assert not list(limits.values(with_manifest(workspace, f"{APP_RUNNER}count: high-availability/3\n")))


def test_a_patchs_finding_stands_at_the_key_inside_its_value() -> None:
    lines = ["- op: add", "  path: /Resources/Table", "  value:", "    Properties:", "      Size: a"]
    assert templates._inside(lines, 2, "Properties/Size") == 5
    assert templates._inside(lines, 2, "Other") == 3


def test_a_finding_of_addons_stands_at_the_property_that_its_message_names(workspace: Path) -> None:
    file = workspace / "copilot/web/addons/table.yml"
    file.parent.mkdir()
    file.write_text(
        "Resources:\n  Table:\n    Type: AWS::DynamoDB::Table\n    Properties:\n"
        "      BillingMode: PAY_PER_REQUEST\n      AttributeDefinitions: []\n      KeySchema: []\n"
    )
    message = "The set of Attributes in AttributeDefinitions: ['id'] and KeySchemas: ['key'] must match"
    found = LintFinding("web", 1, "Resources/Table/Properties", "E3039", "error", message)
    place = templates._place(with_manifest(workspace, WEB), "web", found, addons=True)
    assert place == ("copilot/web/addons/table.yml", 6)
