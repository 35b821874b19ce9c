"""The real Copilot and an application with a domain, from `app init --domain` to `app delete`.

`app init --domain` looks the domain's name servers up by the machine's own resolver, for a warning; what that
finds, and whether it finds anything, changes nothing here.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import application, branch_service, commands
from copilot_testenv.core.settings import load
from tests.sandbox.real_copilot import COPILOT, REPOSITORY, Sandbox, credentials, running_sandbox

pytestmark = pytest.mark.skipif(not COPILOT, reason="there is no Copilot to run")

MANIFEST = """
name: web
type: Load Balanced Web Service
http: {path: /, alias: ALIAS}
image: {location: nginx, port: 80}
cpu: 256
memory: 512
"""


def succeed(sandbox: Sandbox, *words: str) -> str:
    done = sandbox.copilot(*words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def deploy(sandbox: Sandbox, alias: str) -> str:
    manifest = MANIFEST if alias else MANIFEST.replace(", alias: ALIAS", "")
    (sandbox.workspace / "copilot/web/manifest.yml").write_text(manifest.replace("ALIAS", alias))
    return succeed(sandbox, "deploy", "--name", "web", "--env", "test", "--deploy-env=false", "--tag", "abc")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("aws")) as sandbox:
        folder = sandbox.workspace
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        sandbox.client("route53").create_hosted_zone(Name="example.com", CallerReference="once")
        succeed(sandbox, "app", "init", "shop", "--domain", "example.com")
        shutil.copytree(
            REPOSITORY / "copilot/environments/overrides", folder / "copilot/environments/overrides"
        )
        shutil.copytree(REPOSITORY / "copilot/web/overrides", folder / "copilot/web/overrides")
        succeed(sandbox, "env", "init", "--name", "test", "--default-config", *credentials(sandbox.aws))
        succeed(sandbox, "env", "deploy", "--name", "test")
        (folder / "copilot/web/manifest.yml").write_text(MANIFEST.replace("ALIAS", "x.example.com"))
        succeed(sandbox, "svc", "init", "--name", "web", "--svc-type", "Load Balanced Web Service")
        yield sandbox


def zones(sandbox: Sandbox) -> dict[str, str]:
    listed = sandbox.client("route53").list_hosted_zones()["HostedZones"]
    return {zone["Name"]: zone["Id"] for zone in listed}


def records(sandbox: Sandbox, zone: str) -> dict[tuple[str, str], dict[str, Any]]:
    listed = sandbox.client("route53").list_resource_record_sets(HostedZoneId=zones(sandbox)[zone])
    return {(record["Name"], record["Type"]): record for record in listed["ResourceRecordSets"]}


def listeners(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """The listeners of the environment's balancer, by protocol."""
    elb = sandbox.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    listed = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    return {listener["Protocol"]: listener for listener in listed}


def rule(sandbox: Sandbox, protocol: str) -> tuple[list[str], str]:
    """The hosts and the action of the service's one rule on a listener."""
    listed = sandbox.client("elbv2").describe_rules(ListenerArn=listeners(sandbox)[protocol]["ListenerArn"])
    (found,) = [found for found in listed["Rules"] if not found["IsDefault"]]
    hosts = [
        host
        for condition in found["Conditions"]
        if condition["Field"] == "host-header"
        for host in condition["HostHeaderConfig"]["Values"]
    ]
    return hosts, found["Actions"][0]["Type"]


def certificate(sandbox: Sandbox) -> dict[str, Any]:
    (arn,) = [each["CertificateArn"] for each in listeners(sandbox)["HTTPS"]["Certificates"]]
    described: dict[str, Any] = sandbox.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]
    return described


def test_zones_are_delegated_from_the_domain_to_the_environment(sandbox: Sandbox) -> None:
    assert set(zones(sandbox)) == {"example.com.", "shop.example.com.", "test.shop.example.com."}
    delegation = records(sandbox, "example.com.")["shop.example.com.", "NS"]
    assert len(delegation["ResourceRecords"]) == 4


def test_the_alias_is_the_host_of_the_listeners_rules(sandbox: Sandbox) -> None:
    assert "accessible at https://x.example.com" in deploy(sandbox, "x.example.com")
    assert rule(sandbox, "HTTPS") == (["x.example.com"], "forward")
    assert rule(sandbox, "HTTP") == (["x.example.com"], "redirect")
    assert certificate(sandbox)["Status"] == "ISSUED"
    assert set(certificate(sandbox)["SubjectAlternativeNames"]) == {
        "test.shop.example.com",
        "*.test.shop.example.com",
        "x.example.com",
    }
    (balancer,) = sandbox.plane.load_balancers()
    (served,) = [rule for rule in balancer.rules if rule.hosts]
    # On loopback the rule of HTTPS answers in place of the redirect to it.
    assert (served.hosts, served.redirect_to) == (("x.example.com",), None)
    assert served.target_group_arns


def test_another_alias_has_another_certificate_and_the_old_one_goes(sandbox: Sandbox) -> None:
    deploy(sandbox, "x.example.com")
    before = certificate(sandbox)["CertificateArn"]
    deploy(sandbox, "y.example.com")
    assert rule(sandbox, "HTTPS")[0] == ["y.example.com"]
    assert "y.example.com" in certificate(sandbox)["SubjectAlternativeNames"]
    listed = sandbox.client("acm").list_certificates()["CertificateSummaryList"]
    assert before not in [each["CertificateArn"] for each in listed]


def test_without_an_alias_the_service_has_a_name_below_the_environments(sandbox: Sandbox) -> None:
    assert "https://web.test.shop.example.com" in deploy(sandbox, "")
    assert rule(sandbox, "HTTPS")[0] == ["web.test.shop.example.com"]
    record = records(sandbox, "test.shop.example.com.")["web.test.shop.example.com.", "A"]
    assert record["AliasTarget"]["DNSName"].startswith("localhost:8101")
    deploy(sandbox, "x.example.com")
    assert ("web.test.shop.example.com.", "A") not in records(sandbox, "test.shop.example.com.")


def target(sandbox: Sandbox, zone: str, name: str) -> str | None:
    """Where an A record leads to; None where there is none."""
    found = records(sandbox, zone).get((name, "A"))
    return found["AliasTarget"]["DNSName"] if found else None


def a_record(sandbox: Sandbox, action: str, name: str, leads_to: str) -> None:
    sandbox.client("route53").change_resource_record_sets(
        HostedZoneId=zones(sandbox)["example.com."],
        ChangeBatch={
            "Changes": [
                {
                    "Action": action,
                    "ResourceRecordSet": {
                        "Name": name,
                        "Type": "A",
                        "AliasTarget": {
                            "HostedZoneId": "Z1", "DNSName": leads_to, "EvaluateTargetHealth": False,
                        },
                    },
                }
            ]
        },
    )  # fmt: skip


@pytest.mark.nightly
def test_an_alias_takes_over_the_record_that_somebody_else_had_and_takes_it_along(sandbox: Sandbox) -> None:
    a_record(sandbox, "CREATE", "www.example.com", "production.elb.amazonaws.com")
    deploy(sandbox, "www.example.com")
    assert str(target(sandbox, "example.com.", "www.example.com.")).startswith("localhost:8101")
    deploy(sandbox, "x.example.com")
    assert target(sandbox, "example.com.", "www.example.com.") is None
    assert str(target(sandbox, "example.com.", "x.example.com.")).startswith("localhost:8101")


def test_an_alias_is_in_the_zone_that_it_lies_in(sandbox: Sandbox) -> None:
    deploy(sandbox, "x.test.shop.example.com")
    assert target(sandbox, "test.shop.example.com.", "x.test.shop.example.com.")
    deploy(sandbox, "x.shop.example.com")
    assert target(sandbox, "shop.example.com.", "x.shop.example.com.")
    assert not target(sandbox, "test.shop.example.com.", "x.test.shop.example.com.")


@pytest.mark.nightly
def test_an_eleventh_name_is_too_many_for_the_certificate(sandbox: Sandbox) -> None:
    def rules(*counts: int) -> str:
        """Aliases for so many rules; a rule takes five values, its paths among them."""
        first, *more = (
            f"[{', '.join(f'{sign}{number}.example.com' for sign in 'abcd'[:count])}]"
            for number, count in enumerate(counts)
        )
        listed = (f"{{path: /{number}, alias: {names}}}" for number, names in enumerate(more))
        return f"{first}, additional_rules: [{', '.join(listed)}]"

    deploy(sandbox, rules(4, 3, 1))
    assert len(certificate(sandbox)["SubjectAlternativeNames"]) == 10
    manifest = MANIFEST.replace("ALIAS", rules(4, 3, 2))
    (sandbox.workspace / "copilot/web/manifest.yml").write_text(manifest)
    done = sandbox.copilot("deploy", "--name", "web", "--env", "test", "--deploy-env=false", "--tag", "abc")
    assert done.returncode != 0
    assert "takes 10 domain names, and 11 were asked for" in str(sandbox.failures("shop-test")), done.stdout
    assert len(certificate(sandbox)["SubjectAlternativeNames"]) == 10
    deploy(sandbox, "x.example.com")


def made(sandbox: Sandbox, tmp_path: Path, branch: str, **more: str) -> str:
    """Deploy a branch's own service, as `deploy-test --isolated` would; what Copilot says."""
    folder = tmp_path / f"worktree-{branch}"
    shutil.copytree(sandbox.workspace, folder)
    text = MANIFEST.replace(", alias: ALIAS", "") + "environments: {test: {variables: {A: b}}}\n"
    (folder / "copilot/web/manifest.yml").write_text(text)
    environ = {"COPILOT_APP": "shop", "DEPLOY_TARGET": "aws", **more}
    settings = load(folder, environ).isolated_for(branch)
    here = replace(settings, root=tmp_path)  # the user's checkout is another folder than the worktree
    domain = application.domain(settings, Aws(sandbox.aws))
    branch_service.generate(folder, here, branch_service.Addresses(branch_service.host(here, domain)))
    shutil.copytree(folder / "copilot/environments", tmp_path / "copilot/environments", dirs_exist_ok=True)
    deploying = commands.Copilot(here, {}, folder, "shop/test").deploy("abc", {"branch": branch})
    done = sandbox.copilot(*deploying.argv[1:], within=folder)
    assert done.returncode == 0, done.stdout
    return done.stdout


def deleted(sandbox: Sandbox, branch: str, folder: Path) -> None:
    words = ("svc", "delete", "--name", f"web-{branch}", "--env", "test", "--yes")
    gone = sandbox.copilot(*words, within=folder / f"worktree-{branch}")
    assert gone.returncode == 0, gone.stdout


@pytest.mark.nightly
def test_a_branch_called_www_has_a_name_in_the_environments_zone_and_touches_no_other(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    deploy(sandbox, "x.example.com")
    a_record(sandbox, "UPSERT", "www.example.com", "production.elb.amazonaws.com.")
    before, names = certificate(sandbox)["CertificateArn"], records(sandbox, "example.com.")
    assert "https://web-www.test.shop.example.com" in made(sandbox, tmp_path, "www")
    found = Aws(sandbox.aws).address("shop-test-web-www")
    assert found == "http://web-www.test.shop.example.com.localhost:8101"
    assert target(sandbox, "test.shop.example.com.", "web-www.test.shop.example.com.")
    # No name was added to the certificate, and no record to the application's zone.
    assert certificate(sandbox)["CertificateArn"] == before
    assert records(sandbox, "example.com.") == names
    deleted(sandbox, "www", tmp_path)
    assert records(sandbox, "example.com.") == names
    assert not target(sandbox, "test.shop.example.com.", "web-www.test.shop.example.com.")
    a_record(sandbox, "DELETE", "www.example.com", "production.elb.amazonaws.com.")


def test_with_a_domain_of_its_own_a_branchs_host_is_an_alias_below_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    own = "test.shop.example.com"  # another one needs a certificate of its own, imported
    assert f"https://www.{own}" in made(sandbox, tmp_path, "www", TEST_DOMAIN=own)
    deleted(sandbox, "www", tmp_path)


def test_all_of_it_goes_with_the_application(sandbox: Sandbox) -> None:
    deploy(sandbox, "x.example.com")
    succeed(sandbox, "app", "delete", "--name", "shop", "--yes")
    assert set(zones(sandbox)) == {"example.com."}
    assert {type_ for _, type_ in records(sandbox, "example.com.")} == {"NS", "SOA"}
    assert sandbox.client("acm").list_certificates()["CertificateSummaryList"] == []
    assert sandbox.client("cloudformation").describe_stacks()["Stacks"] == []
