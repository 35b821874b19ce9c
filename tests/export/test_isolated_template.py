"""The packaged template of a branch's own service, below TEST_DOMAIN: what Copilot renders for the branch."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv import rendering
from copilot_testenv.copilot import branch_service
from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.deployers.packaged import Packaged
from copilot_testenv.export import workflow
from copilot_testenv.session import Session
from tests.clone import ROOT
from tests.fakes import FakeReport

pytestmark = pytest.mark.nightly  # tests/deployers/test_packaged.py shows the names and hosts at each push

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d-0000-0000-0000-000000000000"
ENVIRONMENT = f"name: test\ntype: Environment\nhttp: {{public: {{certificates: ['{CERTIFICATE}']}}}}\n"
OPTIONS = workflow.Options("test", service="web", output="", domain="", yes=True, plan=False)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A workspace whose test environment imports a certificate, with the setting TEST_DOMAIN."""
    shutil.copytree(ROOT / "copilot", tmp_path / "copilot")
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    (tmp_path / "copilot/environments/test/manifest.yml").write_text(ENVIRONMENT)
    web = tmp_path / "copilot/web/manifest.yml"
    web.write_text(web.read_text().replace("http:\n  path:", "http:\n  alias: shop.example.com\n  path:", 1))
    environ = {"TEST_DOMAIN": "try.example.com", "TEST_HOSTED_ZONE": "Z0873220N255IR3MTNR4"}
    return Session(load(tmp_path, environ), RealShell(), FakeReport(), environ)


def with_own_service(settings: Settings, folder: Path) -> tuple[Settings, Path]:
    """The settings of a branch's slot on AWS, and the workspace that a deploy makes for it."""
    own = replace(settings, target="aws").isolated_for("feature-x")
    shutil.copytree(settings.root, folder)
    branch_service.generate(folder, own, Addresses(branch_service.host(own, "example.com")))
    return own, folder


def listener_rules(template: Template) -> dict[str, Mapping[str, Any]]:
    """The properties by which the load balancer chooses the service, and the records in the zone."""
    wanted = ("ListenerRule", "RecordSet", "Custom::EnvControllerFunction")
    return {
        name: resource["Properties"]
        for name, resource in template.resources.items()
        if str(resource["Type"]).endswith(wanted)
    }


def test_it_has_the_host_name_that_copilot_renders_for_the_branch(session: Session, tmp_path: Path) -> None:
    workflow.package(session, OPTIONS)
    own, folder = with_own_service(session.settings, tmp_path / "branch")
    written = Packaged(own).service(folder, own.service, "test")
    assert isinstance(written, Template), session.report
    with rendering.open_renderer(session, only=["test"]) as renderer:
        rendered = renderer.service(folder, own.service, "test")
    assert isinstance(rendered, Template), rendered
    assert len(listener_rules(rendered)) >= 2
    assert listener_rules(written) == listener_rules(rendered)
    assert "feature-x.try.example.com" in written.text
    assert "placeholder" not in written.text


def test_in_the_sandbox_an_isolated_branch_has_its_name_below_localhost_there(
    session: Session, tmp_path: Path
) -> None:
    own = session.settings.isolated_for("feature-x")
    folder = tmp_path / "branch"
    shutil.copytree(session.settings.root, folder)
    branch_service.generate(folder, own, Addresses(branch_service.host(own, "")))
    with rendering.open_renderer(session, only=["test"]) as renderer:
        rendered = renderer.service(folder, own.service, "test")
    assert isinstance(rendered, Template), rendered
    hosts = re.findall(r"feature-x[\w.]*", str(listener_rules(rendered)))
    assert set(hosts) == {"feature-x.localhost"}
