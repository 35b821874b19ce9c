"""`check --account`: each thing that would hinder a deploy or a copy is told, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from copilot_testenv.account import names, workflow
from copilot_testenv.account.look import AccountFinding
from copilot_testenv.aws import Aws
from copilot_testenv.aws.inventory import Amount, Certificate
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.session import Session, Target
from tests.account.world import HOST, KNOWN, MANIFEST, NOW, SECRET, SERVER, SOURCE, TAGS, URL, World
from tests.fakes import FakeReport, FakeShell


def slot(service: str, expires_at: str) -> Stack:
    tags = {**TAGS, "copilot-service": service, "expires_at": expires_at}
    return Stack(f"demo-test-{service}", "", tags, NOW)


@pytest.fixture
def aws_settings(settings: Settings) -> Settings:
    root = settings.root
    (root / "copilot/web").mkdir(parents=True, exist_ok=True)
    (root / "copilot/web/manifest.yml").write_text(MANIFEST)
    return replace(settings, target="aws")


def look(settings: Settings, aws: Aws, environments: str = KNOWN) -> tuple[Session, Target]:
    shell = FakeShell({"env ls": Result(0, environments)})
    return Session(settings, shell, FakeReport(), {}), Target({}, Copilot(settings, {}, settings.root), aws)


def found(settings: Settings, aws: Aws, environments: str = KNOWN) -> list[AccountFinding]:
    return workflow.findings(*look(settings, aws, environments))


def test_an_account_in_which_nothing_is_wrong_has_no_finding(aws_settings: Settings) -> None:
    assert found(aws_settings, World()) == []


GROUPS = (
    "/copilot/demo-test-web-old", "/aws/lambda/demo-test-web-old-EnvControllerFunction-AB",
    "/copilot/demo-test-web", "/copilot/demo-test-web-copy-db", "/aws/lambda/demo-test-web-Rule-AB",
)  # fmt: skip
OTHER = replace(SERVER, name="other", hosts=("other.example",))
FAULTS: Mapping[str, tuple[dict[str, Any], str, str, str]] = {
    "the stack fails": ({"statuses": {"demo-test": "UPDATE_FAILED"}}, "environment", "error", "FAILED"),
    "no mark": ({"marked": False}, "mark", "error", "invoke create-env --mark-disposable test"),
    "no secret": ({"tags": {SECRET: TAGS}}, "secret", "error", f"{SOURCE} does not exist"),
    "no tag": ({"tags": {SECRET: TAGS, SOURCE: {}}}, "secret", "error", "add-tags-to-resource"),
    "no route": ({"missing": ["a route to x"]}, "copy-route", "error", "missing: a route to x"),
    "no resolver": ({"dns": False}, "copy-dns", "error", "--enable-dns-support"),
    "a public name": (
        {"servers": [replace(SERVER, public=True)], "resolving": False},
        "copy-dns", "error", "public address",
    ),
    "not let in": ({"admitting": False}, "copy-security-group", "error", "admit the security group sg-test"),
    "not let out": ({"leaving": False}, "copy-security-group", "error", "no outgoing rule of sg-test"),
    "it is stopped": ({"servers": [replace(SERVER, status="stopped")]}, "copy-database", "error", "stopped"),
    "the master user": ({"servers": [replace(SERVER, master="reader")]}, "copy-role", "error", "master user"),
    "another account's": ({"servers": [OTHER]}, "copy-database", "warning", "not found in RDS"),
    "one database for both": (
        {"values": dict.fromkeys((SECRET, SOURCE), URL.format(host=HOST, name="stage"))},
        "copy-secret", "error", "name one database",
    ),
    "no Spot left": ({"used": 99.9}, "quota", "error", "room for none"),
    "a new account's Spot": (
        {"quotas": {"L-36FBB829": 6.0}, "used": 5.5}, "quota", "warning", "5.5 of 6 vCPUs",
    ),
    "rules": ({"many_rules": (98, 90)}, "quota", "warning", "98 of 100 rules"),
    "target groups": ({"many_rules": (50, 100)}, "quota", "error", "100 of 100 target groups"),
    "the template": ({"template": "x" * 50_000}, "quota", "error", "bytes of the application's template"),
    "interfaces": (
        {"quotas": {"L-36FBB829": 100.0, "L-DF5E4CA3": 41.0}}, "quota", "warning", "network interfaces",
    ),
    "a full subnet": ({"free": 0}, "subnet", "error", "0 free addresses"),
    "an old runtime": (
        {"runtimes": {"demo-stage-Cert-A1": "nodejs14.x", "demo-stage-Dns-B2": "nodejs14.x"}},
        "runtime", "error", "2 functions of demo-stage run on nodejs14.x",
    ),
    "expired": (
        {"deployed": [slot("web-x", "2026-01-02T00:00:00Z"), slot("web", "kept")]},
        "left-over", "warning", "1 deployment expired and still run: web-x: they cost some",
    ),
    "a one-off stack": (
        {"one_off": ["task-demo-test-web-y-copy-db"]}, "left-over", "warning", "0.1 USD per GB-month",
    ),
    "a failed stack": (
        {"failed": {"demo-test-web-z": "DELETE_FAILED", "demo-production-web": "DELETE_FAILED"}},
        "left-over", "warning", "demo-test-web-z is DELETE_FAILED",
    ),
    "log groups": (
        {"groups": dict.fromkeys(GROUPS, 5),
         "deployed": [slot("web", "kept")]},
        "left-over", "warning", "2 log groups",
    ),
    "untagged images": (
        {"untagged": Amount(7, 10 * 1024**3)}, "left-over", "warning", "10.00 GB at most, 1.00 USD a month",
    ),
    "versions": ({"versions": Amount(90, 1024**3)}, "left-over", "warning", "90 old versions of leases"),
    "no domain": ({"application_domain": ""}, "alias", "warning", "no host name"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_finding_that_says_what_why_and_what_to_do(
    aws_settings: Settings, fault: str
) -> None:
    changes, rule, severity, words = FAULTS[fault]
    findings = found(aws_settings, World(**changes))
    (one,) = set(findings) if fault != "a full subnet" else findings[:1]  # there are two
    assert (one.rule, one.severity) == (rule, severity)
    assert words in str(one)
    assert "hidden-pw" not in str(one)
    assert all((one.what, one.why, one.instead))


def test_without_the_environment_only_what_comes_before_it_is_looked_at(aws_settings: Settings) -> None:
    aws = World(tags={SECRET: TAGS}, statuses={}, missing=["a route"])
    first, second = found(aws_settings, aws, json.dumps({"environments": [{"name": "stage"}]}))
    assert "it knows stage" in first.what
    assert "invoke create-env" in first.instead
    assert second.rule == "secret"


def test_a_role_without_a_right_is_told_which_and_the_other_rules_go_on(
    aws_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> dict[str, str]:
        raise Failed("The AWS call lambda:list-functions failed: AccessDenied.")

    monkeypatch.setattr(World, "function_runtimes", refuse)
    first, second = found(aws_settings, World(free=0))[0], found(aws_settings, World(free=0))[-1]
    assert first.rule == "subnet"
    assert (second.rule, second.severity) == ("runtime", "warning")
    assert "lambda:list-functions" in second.why
    assert "docs/iam/check-account.json" in second.instead


def test_where_secrets_may_not_be_read_the_only_server_of_stagings_network_is_looked_at(
    aws_settings: Settings,
) -> None:
    assert found(aws_settings, World(denied=True)) == []
    (one,) = found(aws_settings, World(denied=True, admitting=False))
    assert one.rule == "copy-security-group"
    several = [SERVER, replace(OTHER, vpc="vpc-stage")]
    rules = [
        each.rule for each in found(aws_settings, World(denied=True, servers=several, missing=["a way"]))
    ]
    assert rules == ["copy-route", "copy-database"]


IMPORTING = "name: test\ntype: Environment\nhttp: {public: {certificates: ['arn:cert']}}\n"
ISSUED = Certificate(("*.test.example.org",), "ISSUED", NOW + timedelta(days=200))


@pytest.mark.parametrize(
    ("certificate", "more", "words"),
    [
        (ISSUED, {}, []),
        (None, {}, ["is not in this account and region"]),
        (replace(ISSUED, status="PENDING_VALIDATION"), {}, ["is PENDING_VALIDATION"]),
        (replace(ISSUED, ends=NOW + timedelta(days=9)), {}, ["ends on"]),
        (replace(ISSUED, names=("other.org",)), {}, ["valid for *.test.example.org", "valid for demo.test"]),
        (ISSUED, {"hosted_zone": ""}, ["are not kept by Copilot"]),
        (ISSUED, {"zone_name": None}, ["Z1 is not in this account"]),
        (ISSUED, {"zone_name": "else.org"}, ["Z1 is else.org"]),
        (ISSUED, {"alias": ""}, ["has no alias there"]),
    ],
)
def test_what_an_imported_certificate_needs_is_told(
    aws_settings: Settings, certificate: Certificate | None, more: dict[str, Any], words: list[str]
) -> None:
    root = aws_settings.root
    (root / "copilot/environments/test").mkdir(parents=True, exist_ok=True)
    (root / "copilot/environments/test/manifest.yml").write_text(IMPORTING)
    alias = more.pop("alias", "    http: {alias: demo.test.example.org}\n")
    (root / "copilot/web/manifest.yml").write_text(MANIFEST + alias)
    zone = more.pop("hosted_zone", "Z1")
    with_domain = replace(aws_settings, test_domain="test.example.org", hosted_zone=zone)
    aws = World(known_certificate=certificate, **{"zone_name": "example.org", **more})
    findings = found(with_domain, aws)
    assert len(findings) == len(words)
    assert all(any(word in each.what for each in findings) for word in words)


def test_a_star_of_a_certificate_stands_for_one_label() -> None:
    assert names.covers(("*.example.org",), "a.example.org")
    assert not names.covers(("*.example.org",), "a.b.example.org")
    assert not names.covers(("*.example.org",), "example.org")


def test_the_sandbox_has_no_server_in_rds_to_look_at(aws_settings: Settings) -> None:
    elsewhere: dict[str, Any] = {"values": {}, "servers": []}
    assert [each.rule for each in found(aws_settings, World(**elsewhere))] == ["copy-database"]
    assert found(replace(aws_settings, target="sandbox"), World(**elsewhere)) == []


def test_the_task_prints_a_line_or_json_for_each_finding_and_ends_with_2(
    aws_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, target = look(aws_settings, World(admitting=False, application_domain=""))
    monkeypatch.setattr(Session, "enter", lambda _: target)
    with pytest.raises(SettingsError, match=r"1 error, 1 warning about the account. Nothing was changed"):
        workflow.check(session, json=False)
    report = session.report
    assert isinstance(report, FakeReport)
    assert [line.split(": ")[:2] for line in report.printed] == [
        ["copy-security-group", "error"], ["alias", "warning"],
    ]  # fmt: skip
    with pytest.raises(SettingsError):
        workflow.check(session, json=True)
    first = json.loads(report.printed[-1])[0]
    assert set(first) == {"rule", "severity", "what", "why", "instead"}
