"""Mistakes that Copilot packages and AWS refuses, or that do harm: each is told once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import beside, limits, registration, relations, workflow
from copilot_testenv.check import project as projects
from copilot_testenv.core.settings import load
from tests.check.projects import with_manifest

RULES = (*limits.RULES, *registration.RULES, *relations.RULES, *beside.RULES)
# Each line of the manifest that a test changes has a word that no other line has.
MANIFEST = """\
name: web
type: Load Balanced Web Service
http:
  path: /
  healthcheck:
    path: /healthz
    interval: 10s
    timeout: 5s
    healthy_threshold: 2
    success_codes: '200'
  deregistration_delay: 10s
image:
  build:
    dockerfile: Dockerfile
    target: run
  port: 8000
  healthcheck:
    command: [CMD-SHELL, curl -f localhost:8000]
    retries: 3
    start_period: 0s
cpu: 512
memory: 1024
platform: linux/amd64
variables:
  LOG_LEVEL: info
secrets:
  SECRET_KEY: /copilot/demo/test/secrets/SECRET_KEY
env_file: web.env
storage:
  volumes:
    files: {path: /files, efs: {id: fs-12345678}}
logging:
  retention: 30
network:
  vpc:
    security_groups: [sg-12345678]
sidecars:
  nginx:
    image: nginx:1.29
    variables: {HOST: localhost}
    secrets: {TLS: /copilot/demo/test/secrets/TLS}
    mount_points:
      - source_volume: files
        path: /files
environments:
  test: {}
"""
DOCKERFILE = """\
FROM python:3.12 AS build
FROM python:3.12 AS run
EXPOSE 8000
CMD gunicorn --bind 0.0.0.0:8000 app
"""
WORKER = """\
name: worker
type: Worker Service
image: {location: nginx:1.29}
subscribe:
  topics:
    - {name: orders, service: web}
  queue:
    retention: 96h
environments:
  test: {}
"""
ENVIRONMENT = """\
name: test
type: Environment
network:
  vpc:
    cidr: 10.0.0.0/16
    subnets:
      public:
        - {cidr: 10.0.0.0/24, az: a}
        - {cidr: 10.0.1.0/24, az: b}
cdn:
  certificate: arn:aws:acm:us-east-1:123456789012:certificate/1
"""
WEB, WORK, ENV = (f"copilot/{name}/manifest.yml" for name in ("web", "worker", "environments/test"))
SEEDS = {
    "no such size": (WEB, "memory: 1024", "memory: 512", "size"),
    "no such cpu": (WEB, "cpu: 512", "cpu: 500", "size"),
    "a memory of another cpu": (WEB, "memory: 1024", "memory: 8192", "size"),
    "variable and secret": (WEB, "  SECRET_KEY:", "  LOG_LEVEL: /a/b\n  SECRET_KEY:", "double"),
    "a sidecar's variable and secret": (WEB, "{TLS:", "{HOST: /a/b, TLS:", "double"),
    "no such volume": (WEB, "source_volume: files", "source_volume: file", "volume"),
    "retention": (WEB, "retention: 30", "retention: 31", "limit"),
    "interval too short": (WEB, "interval: 10s", "interval: 3s", "limit"),
    "timeout too long": (WEB, "timeout: 5s", "timeout: 200s", "limit"),
    "timeout not below interval": (WEB, "timeout: 5s", "timeout: 10s", "health-check"),
    "threshold": (WEB, "healthy_threshold: 2", "healthy_threshold: 1", "limit"),
    "codes": (WEB, "'200'", "'200-599'", "limit"),
    "path of a health check": (WEB, "path: /healthz", "path: healthz", "limit"),
    "delay": (WEB, "delay: 10s", "delay: 2h", "limit"),
    "retries": (WEB, "retries: 3", "retries: 11", "limit"),
    "start period": (WEB, "period: 0s", "period: 10m", "limit"),
    "command of a health check": (WEB, "[CMD-SHELL, curl", "[curl", "limit"),
    "no such stage": (WEB, "target: run", "target: running", "stage"),
    "port of the server": (WEB, "port: 8000", "port: 8080", "port"),
    "port of none": (WEB, "port: 8000", "port: 70000", "limit"),
    "processor": (WEB, "linux/amd64", "linux/arm64", "platform"),
    "no such env file": (WEB, "env_file: web.env", "env_file: wed.env", "file"),
    "a password": (WEB, "  LOG_LEVEL: info", "  LOG_LEVEL: info\n  DB_PASSWORD: hunter2", "password"),
    "a password in a URL": (WEB, "LOG_LEVEL: info", "URL: postgres://me:hunter2@db/x", "password"),
    "a name with spaces": (WEB, "/copilot/demo/test/secrets/SECRET_KEY", "my secret", "limit"),
    "a security group": (WEB, "[sg-12345678]", "[default]", "limit"),
    "a file system": (WEB, "id: fs-12345678", "id: files", "limit"),
    "one alias for two": (WEB, "  path: /\n", "  path: /\n  alias: a.example.com\n", "alias"),
    "the same path twice": (
        WEB,
        "  deregistration_delay",
        "  additional_rules: [{path: /}]\n  deregistration_delay",
        "path",
    ),
    "a topic": (WORK, "name: orders", "name: order", "topic"),
    "retention of a queue": (WORK, "retention: 96h", "retention: 400h", "limit"),
    "a subnet outside": (ENV, "10.0.1.0/24", "10.1.1.0/24", "network"),
    "subnets that overlap": (ENV, "10.0.1.0/24", "10.0.0.128/25", "network"),
    "a certificate of CloudFront": (ENV, "us-east-1", "eu-west-1", "limit"),
    "another folder's name": (WORK, "name: worker", "name: works", "name"),
}


def write(root: Path) -> None:
    for name in ("test", "prod"):
        (root / f"copilot/environments/{name}").mkdir(parents=True)
        (root / f"copilot/environments/{name}/manifest.yml").write_text(ENVIRONMENT.replace("test", name))
    for path, text in {
        WEB: MANIFEST + "publish: {topics: [{name: orders}]}\n",
        WORK: WORKER,
        "Dockerfile": DOCKERFILE.replace("FROM", "FROM --platform=linux/amd64"),
        "web.env": "A=b\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def told(root: Path) -> list[tuple[str, int, str]]:
    project = projects.read(load(root, {}, checking=True))
    return [(one.path, one.line, one.rule) for one in workflow.judge(project, RULES)]


def test_nothing_is_told_of_a_manifest_without_a_mistake(tmp_path: Path) -> None:
    write(tmp_path)
    assert told(tmp_path) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seeded_mistake_is_told_once_at_its_line(tmp_path: Path, seed: str) -> None:
    write(tmp_path)
    path, before, after, rule = SEEDS[seed]
    text = (tmp_path / path).read_text()
    assert text.count(before) == 1, before
    changed = text.replace(before, after)
    (tmp_path / path).write_text(changed)
    new = after.replace(before, "").strip().splitlines()[0] if before in after else after.split("\n")[0]
    line = next(number for number, each in enumerate(changed.splitlines(), 1) if new.strip() in each)
    assert [found for found in told(tmp_path) if found[2] != "expose"] == [(path, line, rule)]


def test_a_limit_for_each_group_of_a_fifo_queue_needs_their_deduplication(workspace: Path) -> None:
    text = "name: web\ntype: Worker Service\nsubscribe:\n  queue:\n    fifo:\n      %s\n"
    text += "      throughput_limit: perMessageGroupId\n"
    told = list(registration.checks(with_manifest(workspace, text % "content_based_deduplication: true")))
    assert [(one.line, one.rule) for one in told] == [(7, "limit")]
    scope = with_manifest(workspace, text % "deduplication_scope: messageGroup")
    assert list(registration.checks(scope)) == []


def test_a_network_balancers_check_may_last_as_long_as_its_interval(workspace: Path) -> None:
    text = "name: web\ntype: Load Balanced Web Service\n"
    text += "%s:\n  healthcheck:\n    interval: 10s\n    timeout: %s\n"
    for holder, timeout, lines in (("nlb", "10s", []), ("nlb", "11s", [6]), ("http", "10s", [6])):
        project = with_manifest(workspace, text % (holder, timeout))
        assert [one.line for one in registration.checks(project)] == lines, (holder, timeout)


@pytest.mark.parametrize(
    ("topic", "queue", "lines"),
    [
        ("{name: orders}", "", []),
        ("{name: orders}", "fifo: true", [6]),
        ("{name: orders, fifo: true}", "fifo: true", []),
        ("{name: orders, fifo: true}", "fifo: {content_based_deduplication: true}", []),
        ("{name: orders, fifo: true}", "retention: 1h", [6]),
    ],
)
def test_a_topic_and_its_queue_are_both_fifo_or_both_standard(
    tmp_path: Path, topic: str, queue: str, lines: list[int]
) -> None:
    write(tmp_path)
    web, work = (tmp_path / path for path in (WEB, WORK))
    web.write_text(web.read_text().replace("{name: orders}", topic))
    work.write_text(work.read_text().replace("retention: 96h", queue))
    assert [one[1] for one in told(tmp_path) if one[2] == "topic"] == lines


@pytest.mark.parametrize(("second", "lines"), [("80/udp", [7]), ("81/tcp", []), ("'${PORT}'", [])])
def test_a_network_balancer_has_each_port_once(workspace: Path, second: str, lines: list[int]) -> None:
    text = "name: web\ntype: Load Balanced Web Service\nnlb:\n  port: 80/tcp\n  additional_listeners:\n"
    project = with_manifest(workspace, f"{text}    - target_port: 80\n      port: {second}\n")
    assert [one.line for one in registration.checks(project)] == lines


@pytest.mark.parametrize(
    ("platform", "cpu", "lines"),
    [
        ("windows/amd64", 512, [4]),
        ("{osfamily: windows_server_2019_core, architecture: x86_64}", 8192, [4]),
        ("windows/amd64", 1024, []),
        ("linux/amd64", 512, []),
    ],
)
def test_windows_has_fewer_sizes(workspace: Path, platform: str, cpu: int, lines: list[int]) -> None:
    memory = {512: 1024, 1024: 2048, 8192: 16384}[cpu]
    text = f"name: web\ntype: Backend Service\nplatform: {platform}\ncpu: {cpu}\nmemory: {memory}\n"
    found = registration.sizes(with_manifest(workspace, text))
    assert [one.line for one in found] == lines
