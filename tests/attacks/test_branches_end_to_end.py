"""Hostile branches through the real `invoke deploy-test` and Copilot; no process sees what is planted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.attacks.test_child_variables import PLANTED
from tests.clone import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    made = Clone(tmp_path_factory.mktemp("clone"), is_light=True)
    made.stage_megabytes = 5
    (made.folder / ".env").write_text("PASSWORD=of-the-deployer\n")
    for words in ((), ("--stop",)):  # with what is planted, pip could not install the image's packages
        made.do("sandbox", *words)
    made.do("sandbox", **PLANTED)
    yield made
    made.stop()


def manifest(clone: Clone) -> str:
    return (clone.folder / "copilot/web/manifest.yml").read_text()


def processes(clone: Clone) -> Iterator[tuple[str, dict[str, str]]]:
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if environ.get("SANDBOX_OWNER") == str(clone.folder / ".sandbox"):
                yield " ".join(process.cmdline()), environ
        except psutil.Error:
            continue


def test_no_process_of_the_sandbox_sees_what_was_planted(clone: Clone) -> None:
    clone.do("deploy-test", "--branch", "main", **PLANTED)
    found = list(processes(clone))
    kinds = " ".join(line for line, _ in found)
    for kind in ("copilot_sandbox.server", "valkey", "gunicorn", "postgres"):
        assert kind in kinds, kinds
    for line, environ in found:
        # The server installs for the first image, and reads pip's settings and the proxy itself.
        may = {"HTTPS_PROXY", "PIP_INDEX_URL"} if "copilot_sandbox.server" in line else set()
        theirs = {name for name, value in PLANTED.items() if environ.get(name) == value}
        assert theirs <= may, (line, theirs)


def test_a_cdk_override_runs_only_where_it_is_trusted_and_sees_the_sandbox_only(
    clone: Clone, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    scripts = {"preinstall": f"node -e \"fs.writeFileSync('{seen}', JSON.stringify(process.env))\""}
    overrides = "copilot/web/overrides"
    files = {
        f"{overrides}/cdk.json": '{"app": "node app.js"}',
        f"{overrides}/package.json": json.dumps({"name": "evil", "version": "1.0.0", "scripts": scripts}),
    }
    clone.git("checkout", "--quiet", "-b", "cdk")
    clone.git("rm", "--quiet", f"{overrides}/cfn.patches.yml")
    for path, text in files.items():
        (clone.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (clone.folder / path).write_text(text)
    clone.commit("hostile")

    checked = clone.invoke("check", "--json", **PLANTED)
    clone.git("checkout", "--quiet", "main")
    assert checked.code == 2, checked.err
    found = json.loads(checked.out)
    assert [(one["path"], one["rule"]) for one in found if one["rule"] == "unsafe"] == [(overrides, "unsafe")]
    for words in ((), ("--isolated", "--plan")):
        refused = clone.invoke("deploy-test", "--branch", "cdk", *words, **PLANTED)
        assert refused.code == 3, refused.err
        assert "--trust cdk" in refused.err
        assert overrides in refused.err
    assert not seen.exists()

    if not shutil.which("npm"):
        pytest.skip("npm is not installed here, so nothing more can be run")
    trusted = clone.invoke("deploy-test", "--branch", "cdk", "--trust", "cdk", **PLANTED)
    assert trusted.code == 2, trusted.err  # the override has no CDK in it
    environ = json.loads(seen.read_text())
    assert {name for name, value in PLANTED.items() if environ.get(name) == value} == set()


@pytest.mark.parametrize(
    ("name", "before", "after", "says"),
    [
        (
            "context",
            "build: Dockerfile",
            "build: {context: ../../, dockerfile: Dockerfile}",
            "out of the repo",
        ),
        ("etc", "build: Dockerfile", "build: {context: ../../../../../../etc}", "out of the repository"),
        ("env-file", "\nenvironments:\n", "\nenv_file: ../../.env\nenvironments:\n", "out of the repository"),
        ("key", "\nenvironments:\n", "\nlabels: {A: '${GITHUB_TOKEN}'}\nenvironments:\n", "GITHUB_TOKEN"),
    ],
)
def test_what_is_not_the_branchs_is_neither_built_nor_uploaded(
    clone: Clone, name: str, before: str, after: str, says: str
) -> None:
    text = manifest(clone)
    assert before in text
    clone.branch(name, {"copilot/web/manifest.yml": text.replace(before, after, 1)})
    refused = clone.invoke("deploy-test", "--branch", name, **PLANTED)
    assert refused.code == 3, refused.err
    assert says in refused.err
    assert "copilot/web/manifest.yml:" in refused.err
    assert "Building your container image" not in refused.err
    assert list((clone.folder / ".worktrees").glob(f"{name}-*")) == []
