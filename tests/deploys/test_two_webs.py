"""Two web services of a branch: each has a host name of its own, and all services know both addresses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import yaml

from copilot_testenv.copilot import branch_service
from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers.packaged import HOST, SLUG, Packaged
from copilot_testenv.deploys import outcome, own_service, rendered_guard
from copilot_testenv.deploys.open_url import open_url
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.deploys.probe import Page
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket, live
from copilot_testenv.state.registry import DeploymentRecord, Registry, RegistryContent
from tests.deploys.teardowns import Played, shared, stack
from tests.fakes import FakeReport, FakeShell, Memory

WEB = "name: {}\ntype: Load Balanced Web Service\nimage: {{build: Dockerfile, port: 80}}\n"
WORKER = "name: worker\ntype: Worker Service\nimage: {build: Dockerfile}\n"
TEST = "http:\n  path: {}\nenvironments: {{test: {{http: {{alias: {}}}}}}}\n"
URLS = {"web": "http://x.localhost:80", "api": "http://api-x.localhost:80"}


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Return the settings of the isolated slot `x`, whose services are in the workspace."""
    texts = {"web": WEB.format("web"), "api": WEB.format("api"), "worker": WORKER}
    for name, text in texts.items():
        folder = settings.root / "copilot" / name
        folder.mkdir(exist_ok=True)
        (folder / "manifest.yml").write_text(
            text + (TEST.format(name, f"{name}.example.com") if name != "worker" else "")
        )
    return replace(settings, own_services=("api", "worker")).isolated_for("x")


@dataclass
class Balanced(Played):
    """An AWS whose environment has a load balancer, and whose services have these addresses."""

    name: str | None = "localhost:80"
    urls: dict[str, str] = field(default_factory=dict)

    def balancer_name(self, stack: str) -> str | None:
        assert stack == "demo-test"
        return self.name

    def address(self, stack: str) -> str | None:
        return self.urls.get(stack)

    def desired_count(self, stack: str) -> int | None:
        assert stack
        return 1

    def parameter(self, name: str) -> str | None:
        assert name == "/copilot/applications/demo"
        return '{"domain": "example.com"}'


def generated(own: Settings, addresses: Addresses) -> Any:
    return yaml.safe_load(branch_service.generate(own.root, own, addresses).read_text())


def on(settings: Settings, monkeypatch: pytest.MonkeyPatch, aws: Played) -> tuple[Session, Target]:
    registry = Registry(Memory())
    monkeypatch.setattr(bucket, "registry", lambda *_: registry)
    target = Target({}, Copilot(settings, {}, settings.root), aws)
    monkeypatch.setattr(Session, "enter", lambda *_, **__: target)
    return Session(settings, FakeShell(), FakeReport(), {}), target


def test_each_web_service_has_a_host_name_with_its_name_and_the_slug(own: Settings) -> None:
    aws = Balanced()
    assert own_service.addresses(own, aws, own.root) == Addresses("x.localhost", URLS)
    on_aws = replace(own, target="aws")
    of_copilot = {name: f"https://{name}-x.test.demo.example.com" for name in URLS}
    assert own_service.addresses(on_aws, aws, own.root).urls == of_copilot
    below = own_service.addresses(replace(on_aws, test_domain="try.org"), aws, own.root)
    assert below == Addresses("x.try.org", {"web": "https://x.try.org", "api": "https://api-x.try.org"})
    assert own_service.addresses(own.shared, aws, own.root) == Addresses()
    assert own_service.addresses(replace(own, own_services=("worker",)), aws, own.root).urls == {}


def test_a_sandbox_without_a_load_balancer_has_no_addresses_yet(own: Settings) -> None:
    aws = Balanced()
    aws.name = None
    with pytest.raises(SettingsError, match="deploy a branch to the shared slot first"):
        own_service.addresses(own, aws, own.root)


def test_every_service_of_the_branch_knows_the_addresses_of_both(own: Settings) -> None:
    addresses = own_service.addresses(own, Balanced(), own.root)
    for service in (own, *own.others):
        variables = generated(service, addresses)["environments"]["test"]["variables"]
        known = {name: variables[name] for name in ("WEB_URL", "API_URL", "DEPLOYMENT_HOST")}
        assert known == {"WEB_URL": URLS["web"], "API_URL": URLS["api"], "DEPLOYMENT_HOST": "x.localhost"}


@pytest.mark.parametrize(
    "text",
    [
        "secrets: {API_URL: /x}\n",
        "sidecars: {startup: {image: {build: Dockerfile}, secrets: {API_URL: /x}}}\n",
    ],
)
def test_a_secret_with_the_name_of_an_address_is_refused_because_ecs_takes_no_name_twice(
    own: Settings, text: str
) -> None:
    file = own.root / "copilot/web/manifest.yml"
    file.write_text(file.read_text() + text)
    with pytest.raises(SettingsError, match=r"has the secret API_URL.* give the secret another name"):
        generated(own, Addresses("x.localhost", URLS))


def test_the_second_one_answers_to_its_own_host_name_and_no_other(own: Settings) -> None:
    api = own.others[0]
    addresses = Addresses("x.localhost", URLS)
    assert "alias" not in generated(api, addresses)["environments"]["test"]["http"]
    patches = yaml.safe_load((own.root / "copilot/api-x/overrides/cfn.patches.yml").read_text())
    assert [patch["value"]["HostHeaderConfig"]["Values"] for patch in patches] == [["api-x.localhost"]]
    elsewhere = own.root / "elsewhere"
    (own.root / "copilot/api-x").rename(elsewhere)
    on_aws = replace(own, target="aws", test_domain="try.org")
    below = own_service.addresses(on_aws, Balanced(), own.root)
    assert generated(on_aws.others[0], below)["environments"]["test"]["http"]["alias"] == "api-x.try.org"


def test_a_service_that_is_none_of_the_web_gets_no_host_name(own: Settings) -> None:
    generated(own.others[1], Addresses("x.localhost", {**URLS, "worker": "http://worker-x.localhost:80"}))
    assert not (own.root / "copilot/worker-x/overrides").exists()


def test_a_web_service_takes_no_host_name_of_the_base_or_of_another_service(
    own: Settings,
) -> None:
    branch, api = Branch("x", "c" * 40), own.shared.others[0]
    own_service.require_host_names(api, branch, Addresses(), own.root)
    file = own.root / "copilot/api/manifest.yml"
    file.write_text(WEB.format("api") + TEST.format("api", "web.example.com"))
    own_service.require_host_names(api, branch, Addresses(), own.root)  # at another path of the page's host
    with pytest.raises(Refused, match=r"gives web\.example\.com to web in test"):
        own_service.require_host_names(replace(api, own_services=(), web=""), branch, Addresses(), own.root)
    file.write_text(
        WEB.format("api") + "http: {path: api, alias: api.example.com}\nenvironments: {test: {}}\n"
    )
    with pytest.raises(SettingsError, match=r"has the host name api\.example\.com of the base"):
        own_service.require_host_names(api, branch, Addresses(), own.root)


def test_two_web_services_of_the_shared_slot_do_not_answer_to_the_same_requests(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in (("web", "/"), ("api", "''")):
        text = WEB.format(name) + f"http: {{path: {path}}}\nenvironments: {{test: {{}}}}\n"
        (own.root / f"copilot/{name}/manifest.yml").write_text(text)
    session, target = on(own.shared, monkeypatch, Balanced())
    webs = own.shared.others[:1]
    own_service.require_places(session, target, webs, own.root)  # the application has a domain
    monkeypatch.setattr(Balanced, "parameter", lambda *_: "{}")
    with pytest.raises(SettingsError, match=r"api and web both answer to / in test.*http\.path"):
        own_service.require_places(session, target, webs, own.root)
    own_service.require_places(replace(session, settings=own), target, webs, own.root)
    (own.root / "copilot/api/manifest.yml").write_text(text.replace("''", "api"))
    own_service.require_places(session, target, webs, own.root)


@pytest.mark.parametrize(("slug", "other"), [("x", "api-x"), ("api-x", "x")])
def test_two_branches_never_share_a_host_name(
    own: Settings, monkeypatch: pytest.MonkeyPatch, slug: str, other: str
) -> None:
    here = replace(own.shared, own_services=own.own_services).isolated_for(slug)
    session, target = on(here, monkeypatch, Balanced())
    registry, addresses = bucket.registry(session, target), Addresses(f"{slug}.localhost", URLS)
    for service, known in ((f"web-{slug}", slug), ("web-y", "y")):
        registry.record(service, DeploymentRecord(known, isolated=True))
    registry.record("web", DeploymentRecord(other, isolated=False))
    own_service.require_free_labels(session, target, Branch(slug, ""), addresses)
    registry.record(f"web-{other}", DeploymentRecord(other, isolated=True))
    with pytest.raises(Refused, match=rf"{slug} and {other}.* would share the name api-x"):
        own_service.require_free_labels(session, target, Branch(slug, ""), addresses)
    if slug == "api-x":  # whatever its own manifests say of api
        with pytest.raises(Refused, match="would share the name api-x"):
            own_service.require_free_labels(session, target, Branch(slug, ""), Addresses(f"{slug}.localhost"))
    on_aws = replace(session, settings=replace(here, target="aws"))  # a host name begins with web- or api-
    own_service.require_free_labels(on_aws, target, Branch(slug, ""), addresses)


@pytest.mark.parametrize("domain", ["", "try.org"])
def test_a_packaged_template_gets_the_branchs_own_addresses(own: Settings, domain: str) -> None:
    own = replace(own, target="aws" if domain else "sandbox", test_domain=domain)
    urls = {"web": "https://x.try.org", "api": "https://api-x.try.org"} if domain else URLS
    addresses = Addresses("x.try.org" if domain else "x.localhost", urls)
    host = f"{SLUG}.{domain}" if domain else HOST
    places = f"[https://{host}, https://api-{host}, api-{host}, {host}, api-{SLUG}, _{SLUG}]"
    folder = own.root / "cloudformation/test/isolated"
    folder.mkdir(parents=True)
    for service in (own, own.others[0]):
        name = service.shared.stack_name
        (folder / f"{name}.yml").write_text(
            "Resources:\n  HTTPListenerRule:\n    Type: AWS::ElasticLoadBalancingV2::ListenerRule\n"
            f"    Properties: {{Conditions: [], Names: {places}}}\n"
        )
        (folder / f"{name}.parameters.json").write_text("[]")
        generated(service, addresses)
        found: Any = Packaged(service).service(own.root, service.service, "test")
        rule = found.resources["HTTPListenerRule"]["Properties"]
        hosts = [addresses.host_of(each) for each in (own.others[0], own)]
        assert rule["Names"] == [urls["web"], urls["api"], *hosts, "api-x", "_x"]
        wanted = [] if domain else [[addresses.host_of(service)]]
        assert [each["HostHeaderConfig"]["Values"] for each in rule["Conditions"]] == wanted


RULE = """Resources:
  HTTPListenerRule:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      ListenerArn: !GetAtt EnvControllerAction.HTTPListenerArn
      Priority: !GetAtt HTTPRulePriorityAction.Priority
      Actions: [{Type: forward, TargetGroupArn: !Ref TargetGroup}]
      Conditions:
      - {Field: host-header, HostHeaderConfig: {Values: [worker-x.localhost]}}
      - {Field: path-pattern, PathPatternConfig: {Values: [/*]}}
      - {Field: source-ip, SourceIpConfig: {Values: [0.0.0.0/0]}}
"""


def test_a_branch_does_not_make_a_web_service_of_a_worker_unless_that_is_trusted(own: Settings) -> None:
    worker = own.others[1]
    branch, base = Template(RULE, {}, ""), Template("Resources: {}\n", {}, "")
    found = list(rendered_guard.changes(worker, branch, base, branch, set()))
    assert (
        "access",
        "the rule HTTPListenerRule gives an address to a service that has none in the default branch",
    ) in [(each.name, each.what) for each in found]
    same = list(rendered_guard.changes(worker, branch, branch, branch, set()))
    assert [each.name for each in same] == []


def test_the_page_and_the_others_are_told_together_and_the_first_fault_counts(settings: Settings) -> None:
    page = Served(live.deployment_of(settings, {}, url="http://a"), Page("http://a", 200))
    of_api = live.deployment_of(replace(settings, service="api"), {}, url="http://b")
    broken = Served(of_api, Page("http://b", 502), "http://b cannot be used")
    both = outcome.together(page, [broken])
    assert both.deployment.urls == {"web": "http://a", "api": "http://b"}
    assert both.deployment.url == "http://a"
    assert both.deployment.more_urls == {"api": "http://b"}
    assert both.wrong == "http://b cannot be used"
    assert outcome.together(replace(page, wrong="first"), [broken]).wrong == "first"


def test_the_registry_keeps_the_addresses_and_reads_records_without_them() -> None:
    registry = Registry(Memory())
    registry.record("web", DeploymentRecord("main", isolated=False, urls=URLS))
    assert registry.read().deployments["web"].urls == URLS
    bodies = {
        b'{"branch": "a", "isolated": false, "url": null, "database": null, "data_copied_at": null}': (),
        b'{"branch": "a", "isolated": false, "url": null, "database": null, "data_copied_at": null, '
        b'"urls": {"../web": "http://a"}}': ("'web'",),
        b'{"branch": "a", "isolated": false, "url": null, "database": null, "data_copied_at": null, '
        b'"urls": ["http://a"]}': ("'web'",),
    }
    for body, malformed in bodies.items():
        found = RegistryContent.of(b'{"deployments": {"web": ' + body + b'}, "swept": null}')
        assert found.malformed == malformed


def test_open_shows_the_address_of_another_web_service_and_refuses_a_worker(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = (stack("api", "main", slot="web"), stack("worker", "main", slot="web"))
    found = {each.name: each for each in (shared(services="api worker"), *others)}
    aws = Balanced(found)
    aws.urls = {"demo-test-web": "http://w", "demo-test-api": "http://a/api"}
    session, _ = on(own.shared, monkeypatch, aws)
    for service in ("api", "", "web"):
        open_url(session, "", service)
    assert isinstance(session.report, FakeReport)
    assert session.report.printed == ["http://a/api", "http://w", "http://w"]
    with pytest.raises(UsageError, match="worker is no web service, so it has no URL"):
        open_url(session, "", "worker")


def test_the_slots_other_addresses_are_found_by_the_tag_of_its_stack(own: Settings) -> None:
    aws = Balanced()
    aws.urls = {"demo-test-api-x": "http://api-x.localhost:80/api", "demo-test-web-x": "http://x"}
    target = Target({}, Copilot(own, {}, own.root), aws)
    tagged = stack("web-x", "x", services="api-x worker-x")
    assert live.other_urls(own, target, tagged) == {"api": "http://api-x.localhost:80/api"}
