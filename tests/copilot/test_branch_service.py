from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from copilot_testenv.copilot import branch_service
from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.settings import Settings
from tests.clone import ROOT

SLUG = "feature-x-217d2bf"
X = Addresses("x.localhost")


@pytest.fixture
def own(settings: Settings) -> Settings:
    return settings.isolated_for(SLUG)


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    """A checkout with the manifests of this repository."""
    folder = tmp_path / "worktree"
    shutil.copytree(ROOT / "copilot", folder / "copilot")
    return folder


def written(worktree: Path, manifest: str) -> Path:
    (worktree / "copilot/web/manifest.yml").write_text(manifest)
    return worktree


def made(worktree: Path, own: Settings, host: str = "feature-x-217d2bf.localhost") -> Any:
    return yaml.safe_load(branch_service.generate(worktree, own, Addresses(host)).read_text())


def test_an_isolated_service_is_named_after_the_shared_one(own: Settings) -> None:
    assert (own.service, own.base, own.stack_name) == (
        "web-feature-x-217d2bf", "web", "demo-test-web-feature-x-217d2bf",
    )  # fmt: skip
    assert own.manifest.name == "manifest.yml"
    assert own.manifest.parent.name == "web"
    assert own.database_suffix == "_feature_x_217d2bf"


def test_the_manifest_differs_from_the_branchs_own_only_where_it_must(worktree: Path, own: Settings) -> None:
    before = yaml.safe_load((worktree / "copilot/web/manifest.yml").read_text())
    after = made(worktree, own)
    before["name"] = own.service
    block = before["environments"]["test"]
    for container in (block, block["sidecars"]["startup"]):
        container["variables"]["DATABASE_SUFFIX"] = own.database_suffix
        container["variables"]["DEPLOYMENT_HOST"] = "feature-x-217d2bf.localhost"
    assert after == before


def test_comments_and_scalars_stay_as_they_are_written(worktree: Path, own: Settings) -> None:
    before = (worktree / "copilot/web/manifest.yml").read_text().splitlines()
    branch_service.generate(worktree, own, X)
    after = (worktree / f"copilot/{own.service}/manifest.yml").read_text()
    assert "# it ends when it is done, and the task goes on" in after
    assert "success_codes: '200'" in after
    assert before[0] in after


def test_what_else_belongs_to_the_service_comes_along(worktree: Path, own: Settings) -> None:
    (worktree / "copilot/web/addons").mkdir()
    (worktree / "copilot/web/addons/bucket.yml").write_text("Resources: {}\n")
    branch_service.generate(worktree, own, X)
    assert (worktree / f"copilot/{own.service}/addons/bucket.yml").is_file()
    patches = (worktree / f"copilot/{own.service}/overrides/cfn.patches.yml").read_text()
    assert "RulePriorityFunction" in patches


def test_in_the_sandbox_a_patch_gives_each_rule_the_host(worktree: Path, own: Settings) -> None:
    more = "http:\n  path: /\n  additional_rules:\n    - path: /api\nenvironments:\n  test: {}\n"
    written(worktree, f"name: web\ntype: Load Balanced Web Service\n{more}")
    shutil.rmtree(worktree / "copilot/web/overrides")
    made(worktree, own, "x.localhost")
    patches = yaml.safe_load((worktree / f"copilot/{own.service}/overrides/cfn.patches.yml").read_text())
    assert [patch["path"] for patch in patches] == [
        "/Resources/HTTPListenerRule/Properties/Conditions/-",
        "/Resources/HTTPListenerRule1/Properties/Conditions/-",
    ]
    assert all(patch["value"]["HostHeaderConfig"] == {"Values": ["x.localhost"]} for patch in patches)


def test_with_a_hosted_zone_copilot_keeps_the_record_of_the_host(worktree: Path, own: Settings) -> None:
    written(
        worktree, "name: web\ntype: Load Balanced Web Service\nhttp: {path: /}\nenvironments: {test: {}}\n"
    )
    here = replace(own, target="aws", test_domain="example.com", hosted_zone="Z0873220N255IR3MTNR4")
    http = made(worktree, here, "x.example.com")["environments"]["test"]["http"]
    assert http == {"alias": "x.example.com", "hosted_zone": "Z0873220N255IR3MTNR4"}


def test_below_a_domain_of_tests_own_the_host_is_an_alias_of_each_rule_and_nothing_is_patched(
    worktree: Path, own: Settings
) -> None:
    more = "http:\n  path: /\n  additional_rules:\n    - path: /api\n      alias: api.example.com\n"
    written(worktree, f"name: web\ntype: Load Balanced Web Service\n{more}environments:\n  test: {{}}\n")
    before = (worktree / "copilot/web/overrides/cfn.patches.yml").read_text()
    found = made(worktree, replace(own, target="aws", test_domain="example.com"), "x.example.com")
    http = found["environments"]["test"]["http"]
    assert http == {
        "alias": "x.example.com",
        "additional_rules": [{"path": "/api", "alias": "x.example.com"}],
    }
    assert found["http"]["additional_rules"] == [{"path": "/api"}]
    assert (worktree / f"copilot/{own.service}/overrides/cfn.patches.yml").read_text() == before


def test_a_worker_that_is_a_sidecar_is_told_of_it_too_whatever_its_image(
    worktree: Path, own: Settings
) -> None:
    text = (worktree / "copilot/web/manifest.yml").read_text()
    worker = "      worker: {image: 'shop/worker:1', variables: {DATABASE_HOST: db}}\n"
    written(
        worktree, text.replace("      startup:\n        command", f"{worker}      startup:\n        command")
    )
    for services, suffix in ((("web", "worker"), own.database_suffix), ((), None)):
        found = made(worktree, replace(own, services=services))["environments"]["test"]["sidecars"]["worker"]
        assert found["variables"].get("DATABASE_SUFFIX") == suffix
        shutil.rmtree(worktree / "copilot" / own.service)


def test_only_sidecars_that_run_the_project_are_told_of_the_database(worktree: Path, own: Settings) -> None:
    written(
        worktree,
        "name: web\ntype: Load Balanced Web Service\nsidecars:\n"
        "  redis: {image: redis}\n  worker: {image: {build: Dockerfile}}\n  cron: {secrets: {A: /a}}\n"
        "environments:\n  test:\n    sidecars:\n      mail: {image: m}\n      beat: {env_file: x.env}\n",
    )
    sidecars = made(worktree, own)["environments"]["test"]["sidecars"]
    told = {name for name, entry in sidecars.items() if "DATABASE_SUFFIX" in entry.get("variables", {})}
    assert told == {"worker", "cron", "beat"}


@pytest.mark.parametrize("place", ["worktree", "checkout"])
def test_a_service_of_the_projects_own_is_never_taken_for_a_branchs(
    worktree: Path, own: Settings, place: str
) -> None:
    taken = worktree if place == "worktree" else own.root
    (taken / "copilot" / own.service).mkdir(parents=True)
    with pytest.raises(Refused, match="a service of the project's own"):
        branch_service.generate(worktree, own, X)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("name: web\ntype: Backend Service\nenvironments: {test: {}}\n", "Backend Service"),
        ("name: web\nenvironments: {test: {}}\n", "of type None"),
        ("- a list\n", "of type None"),
        ("a: [\n", "cannot be read"),
        ("type: Load Balanced Web Service\nenvironments: {test: {variables: 3}}\n", "`variables`"),
        ("type: Load Balanced Web Service\nenvironments: 3\n", "`environments`"),
    ],
)
def test_a_manifest_that_cannot_be_a_model_is_a_settings_error(
    worktree: Path, own: Settings, manifest: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        branch_service.generate(written(worktree, manifest), own, X)


@pytest.mark.parametrize("name", ["manifest.yml", "overrides"])
def test_no_link_leads_the_writing_out_of_the_worktree(
    worktree: Path, own: Settings, tmp_path: Path, name: str
) -> None:
    outside, place = tmp_path / "outside", worktree / "copilot/web" / name
    if place.is_dir():
        place.rename(outside)
    else:
        shutil.move(place, outside)
    place.symlink_to(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    with pytest.raises(SettingsError, match="leads out of the repository"):
        branch_service.generate(worktree, own, X)
    assert {path: path.read_bytes() for path in before} == before


def test_the_host_lies_below_localhost_in_the_sandbox_and_below_the_domain_on_aws(own: Settings) -> None:
    assert branch_service.host(own, "") == f"{SLUG}.localhost"
    aws = replace(own, target="aws")
    assert branch_service.host(aws, "example.com") == f"web-{SLUG}.test.demo.example.com"
    assert branch_service.host(replace(aws, test_domain="try.example.org"), "") == f"{SLUG}.try.example.org"


def test_an_environment_with_certificates_of_its_own_needs_a_domain_of_its_own(own: Settings) -> None:
    file = own.root / "copilot/environments/test/manifest.yml"
    file.write_text("name: test\ntype: Environment\nhttp: {public: {certificates: [arn]}}\n")
    with pytest.raises(SettingsError, match=r"imports certificates in test.*TEST_DOMAIN"):
        branch_service.host(replace(own, target="aws"), "example.com")


def test_a_host_name_longer_than_dns_takes_is_told(own: Settings) -> None:
    long = replace(own, target="aws", service=f"{'w' * 60}-{SLUG}")
    with pytest.raises(SettingsError, match="DNS allows 63"):
        branch_service.host(long, "example.com")


@pytest.mark.parametrize(
    "manifest",
    [
        "http: {path: /, alias: www.example.com, hosted_zone: Z1}\n",
        "http: &h {path: /, alias: [www.example.com]}\nx: *h\n",
        "x: &h {path: /, alias: [{name: www.example.com, hosted_zone: Z1}]}\nhttp: {<<: *h}\n",
        "http: {path: /, additional_rules: [{path: /a, alias: www.example.com}]}\n",
        "http: {path: /}\nnlb: {alias: www.example.com}\n",
    ],
)
@pytest.mark.parametrize("target", ["aws", "sandbox"])
def test_no_alias_of_the_manifest_comes_along(
    worktree: Path, own: Settings, manifest: str, target: Any
) -> None:
    http = "{alias: test.example.com, additional_rules: [{path: /b, alias: b.example.com}]}"
    block = f"environments: {{test: {{http: {http}}}}}\n"
    written(worktree, f"name: web\ntype: Load Balanced Web Service\n{manifest}{block}")
    found = made(worktree, replace(own, target=target), "x.example.org")
    shown = yaml.safe_dump({key: found[key] for key in ("http", "nlb", "environments") if key in found})
    assert "example.com" not in shown
    assert "Z1" not in shown


def test_an_application_without_a_domain_can_have_no_isolated_deployment_on_aws(own: Settings) -> None:
    with pytest.raises(SettingsError, match=r"has no domain.*TEST_DOMAIN"):
        branch_service.host(replace(own, target="aws"), "")


KEYS = st.sampled_from(
    (
        "http",
        "additional_rules",
        "sidecars",
        "image",
        "build",
        "variables",
        "secrets",
        "test",
        "environments",
        "x",
    )
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manifest=st.dictionaries(KEYS, ODD), aws=st.booleans())
def test_whatever_stands_in_a_manifest_is_edited_or_named_as_wrong(
    worktree: Path,
    own: Settings,
    manifest: dict[str, Any],
    aws: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    shutil.rmtree(worktree / "copilot" / own.service, ignore_errors=True)
    written(worktree, yaml.safe_dump({"type": branch_service.SERVICE_TYPE, **manifest}))
    found = None
    with suppress(SettingsError):
        found = made(worktree, replace(own, target="aws" if aws else "sandbox"))
    if found:
        assert found["environments"]["test"]["variables"]["DATABASE_SUFFIX"] == own.database_suffix


WORKER = """name: worker
type: Worker Service
image: {build: Dockerfile}
command: sh -c "work --broker redis://web.$COPILOT_SERVICE_DISCOVERY_ENDPOINT:6379"
variables:
  API: http://web.${COPILOT_ENVIRONMENT_NAME}.${COPILOT_APPLICATION_NAME}.local:8000
  STAGING: http://web.stage.demo.local
  OTHER: my-web.test.demo.local
  ANOTHER: api.test.demo.local
subscribe:
  topics: [{name: orders, service: web}, {name: mails, service: mailer}]
environments:
  test:
    variables: {REDIS_HOST: web.test.demo.local}
"""


def test_another_service_of_the_branch_names_the_branchs_own_and_no_other(
    worktree: Path, own: Settings
) -> None:
    (worktree / "copilot/worker").mkdir()
    (worktree / "copilot/worker/manifest.yml").write_text(WORKER)
    (other,) = replace(own, own_services=("worker",)).others
    after = made(worktree, other)
    assert after["name"] == f"worker-{SLUG}"
    assert f"redis://web-{SLUG}.$COPILOT_SERVICE_DISCOVERY_ENDPOINT:6379" in after["command"]
    end = "${COPILOT_ENVIRONMENT_NAME}.${COPILOT_APPLICATION_NAME}.local:8000"
    assert after["variables"] == {
        "API": f"http://web-{SLUG}.{end}",
        "STAGING": "http://web.stage.demo.local",
        "OTHER": "my-web.test.demo.local",
        "ANOTHER": "api.test.demo.local",
    }
    assert [topic["service"] for topic in after["subscribe"]["topics"]] == [f"web-{SLUG}", "mailer"]
    variables = after["environments"]["test"]["variables"]
    assert variables["REDIS_HOST"] == f"web-{SLUG}.test.demo.local"
    assert variables["DATABASE_SUFFIX"] == own.database_suffix
    assert not (worktree / f"copilot/{other.service}/overrides").exists()


def test_the_page_names_the_branchs_other_services_too(worktree: Path, own: Settings) -> None:
    manifest = (worktree / "copilot/web/manifest.yml").read_text()
    there = manifest.replace("  REDIS_PORT: '6379'\n", "  API: worker.test.demo.local\n", 1)
    after = made(written(worktree, there), replace(own, own_services=("worker",)))
    assert after["variables"]["API"] == f"worker-{SLUG}.test.demo.local"
