"""A branch's own service in an application with a domain: its host is Copilot's own, and nobody else's."""

# ruff: noqa: E501 - an attack a line reads as a table
from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv import rendering
from copilot_testenv.copilot import branch_service
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.deploys import rendered_guard
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.attacks.branches import both, in_base, in_test, op
from tests.clone import ROOT
from tests.fakes import FakeReport

HOST = "web-www.test.demo.example.com"
RULE = "/Resources/HTTPSListenerRule/Properties"


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renderer]:
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(ROOT / "copilot", folder / "copilot")
    session = Session(load(folder, {"DEPLOY_TARGET": "aws"}), RealShell(), FakeReport(), {})
    with rendering.open_renderer(session, domain="example.com") as opened:
        yield opened


def rendered(renderer: Renderer, folder: Path, settings: Settings) -> Template:
    found = renderer.service(folder, settings.service, "test")
    assert isinstance(found, Template), found
    return found


@pytest.mark.nightly
def test_its_host_is_copilots_own_and_every_other_one_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    here = replace(renderer.settings, root=tmp_path / "checkout").isolated_for("www")
    attacks = {
        "nothing": lambda _: None,
        "an alias of its own": both(in_base(http={"alias": "www.example.com"}), in_test(http={"alias": "a.example.com"})),
        "a host": op("replace", f"{RULE}/Conditions/1/HostHeaderConfig/Values", "[www.example.com]"),
        "a wildcard": op("replace", f"{RULE}/Conditions/1/HostHeaderConfig/Values", "['*']"),
        "no host": op("remove", f"{RULE}/Conditions/1"),
        "a record": op("replace", "/Resources/LoadBalancerDNSAlias/Properties/RecordSets/0/Name", "www.example.com."),
        "a zone": op("replace", "/Resources/LoadBalancerDNSAlias/Properties/HostedZoneId", "Z123"),
        "an alias of the certificate": op("add", "/Resources/EnvControllerAction/Properties/Aliases", "[www.example.com]"),
    }  # fmt: skip
    found = {}
    base = None
    for number, (name, apply) in enumerate(attacks.items()):
        folder = tmp_path / str(number)
        shutil.copytree(ROOT / "copilot", folder / "copilot")
        apply(folder)
        branch_service.generate(folder, here, branch_service.Addresses(HOST))
        template = rendered(renderer, folder, here)
        base = base or template
        found[name] = {
            change.name for change in rendered_guard.changes(here, template, base, base, {"production"})
        }
    assert base is not None
    assert "Aliases:" not in base.text.partition("\nResources:")[2]
    assert found == {
        name: set() if name in {"nothing", "an alias of its own"} else {"rules"} for name in attacks
    }
