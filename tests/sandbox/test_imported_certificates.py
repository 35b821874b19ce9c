"""Environments that import a certificate of somebody's account, made by the real Copilot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from copilot_sandbox import imported_certificates
from tests.sandbox.real_copilot import COPILOT, REPOSITORY, credentials, running_sandbox

ARN = "arn:aws:acm:eu-west-1:111122223333:certificate/0d0d0d0d-0000-0000-0000-000000000000"
ENVIRONMENT = f"name: test\ntype: Environment\nhttp: {{public: {{certificates: ['{ARN}']}}}}\n"
MANIFEST = """
name: web
type: Load Balanced Web Service
http: {path: /, alias: '*.shop.example'}
image: {location: nginx, port: 80}
cpu: 256
memory: 512
environments:
  test: {http: {alias: [test.shop.example, {name: b.shop.example, hosted_zone: Z1}]}}
  prod: {http: {additional_rules: [{path: /x, alias: c.shop.example}]}}
"""


def write(root: Path) -> None:
    for name, text in (("environments/test", ENVIRONMENT), ("web", MANIFEST), ("bad", "[")):
        (root / "copilot" / name).mkdir(parents=True, exist_ok=True)
        (root / "copilot" / name / "manifest.yml").write_text(text)


def test_each_certificate_covers_the_aliases_of_all_services(tmp_path: Path) -> None:
    write(tmp_path)
    hosts = ["*.shop.example", "b.shop.example", "c.shop.example", "test.shop.example", "*.localhost"]
    assert imported_certificates.of_workspace(tmp_path) == {ARN: hosts}


@pytest.mark.skipif(not COPILOT, reason="there is no Copilot to run")
def test_an_environment_with_an_imported_certificate_is_made_and_an_alias_deployed(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        folder = sandbox.workspace
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        assert sandbox.copilot("app", "init", "shop").returncode == 0
        write(folder)
        shutil.rmtree(folder / "copilot/bad")
        without_zone = MANIFEST.replace(", {name: b.shop.example, hosted_zone: Z1}", "")
        (folder / "copilot/web/manifest.yml").write_text(without_zone)
        shutil.copytree(REPOSITORY / "copilot/web/overrides", folder / "copilot/web/overrides")
        sandbox.plane.import_certificates(imported_certificates.of_workspace(folder))
        for words in (
            ("env", "init", "--name", "test", "--default-config", *credentials(sandbox.aws)),
            ("env", "deploy", "--name", "test"),
            ("svc", "init", "--name", "web", "--svc-type", "Load Balanced Web Service"),
            ("deploy", "--name", "web", "--env", "test", "--deploy-env=false"),
        ):
            done = sandbox.copilot(*words)
            assert done.returncode == 0, (words, done.stdout)
        assert "https://test.shop.example" in done.stdout
