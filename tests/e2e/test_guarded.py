"""What a branch would deploy is looked at before: the ways in, by `deploy-test` itself."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.clone import ROOT, Clone, get_json
from tests.e2e.looks import deployed, stacks

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
LIGHT = True
MANIFEST = (ROOT / "copilot/web/manifest.yml").read_text()
PATCHES = (ROOT / "copilot/web/overrides/cfn.patches.yml").read_text()
OWN = "STAGE_DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/"
THIEF = """- op: replace
  path: /Resources/HTTPListenerRule/Properties/Priority
  value: 1
- op: remove
  path: /Resources/HTTPListenerRule/Properties/Conditions/0
"""


@dataclass(frozen=True)
class Branches:
    secrets: str = "feature/secrets"
    thief: str = "feature/thief"
    alias: str = "feature/alias"
    plain: str = "feature/plain"


@pytest.fixture(scope="module")
def branches(clone: Clone) -> Branches:
    """Hostile branches, and one that changes what every branch may."""
    clone.stage_megabytes = 5
    made = Branches()
    foreign = OWN.replace("${COPILOT_ENVIRONMENT_NAME}", "production")
    host = "      REDIS_HOST: localhost\n      EMAIL"
    imported = "REDIS_HOST:\n        from_cfn: ${COPILOT_APPLICATION_NAME}-production-DatabaseURL"
    manifest = MANIFEST.replace(OWN, foreign).replace(host, f"      {imported}\n      EMAIL")
    assert manifest.count("production") > MANIFEST.count("production")
    clone.branch(made.secrets, {"copilot/web/manifest.yml": manifest})
    clone.branch(made.thief, {"copilot/web/overrides/cfn.patches.yml": PATCHES + THIEF})
    path = "http:\n  path: '/'\n"
    alias = MANIFEST.replace(path, f"{path}  alias: www.example.com\n", 1)
    clone.branch(made.alias, {"copilot/web/manifest.yml": alias})
    plain = MANIFEST.replace(host, f"      FLAG: 'on'\n{host}").replace(
        "    memory: 512\n", "    memory: 1024\n"
    )
    assert plain != MANIFEST
    clone.branch(made.plain, {"copilot/web/manifest.yml": plain, "note.txt": "more"})
    clone.do("sandbox")
    return made


@pytest.mark.parametrize("words", [(), ("--isolated",), ("--plan",)])
def test_productions_secrets_do_not_reach_a_test_task(
    clone: Clone, branches: Branches, words: tuple[str, ...]
) -> None:
    ran = clone.invoke("deploy-test", "--branch", branches.secrets, *words)
    assert ran.code == 3, ran.err
    assert "copilot/web/manifest.yml:99: it refers to the export demo-production-DatabaseURL" in ran.err
    assert "is /copilot/demo/production/secrets/STAGE_DATABASE_URL" in ran.err
    assert "--trust references" in ran.err
    assert not [name for name in stacks(clone) if name.startswith("demo-test-web")]


def test_a_branch_does_not_take_its_neighbours_traffic(clone: Clone, branches: Branches) -> None:
    url = deployed(clone.invoke("deploy-test", "--branch", branches.plain, "--isolated"))
    for words in ((), ("--isolated",)):
        ran = clone.invoke("deploy-test", "--branch", branches.thief, *words)
        assert ran.code == 3, ran.err
        assert "cfn.patches.yml:10: the rule HTTPListenerRule has the priority 1" in ran.err
        assert "cfn.patches.yml:13: the rule HTTPListenerRule lets in every address" in ran.err
    assert get_json(f"{url}/status.json")["branch"] == branches.plain
    assert [name for name in stacks(clone) if name.startswith("demo-test-web")] == [
        name for name in stacks(clone) if "feature-plain" in name
    ]


def test_the_bases_alias_does_not_reach_test(clone: Clone, branches: Branches) -> None:
    ran = clone.invoke("deploy-test", "--branch", branches.alias)
    assert ran.code == 2, ran.err
    assert "copilot/web/manifest.yml:8: test has the host name www.example.com of the base" in ran.err
    assert "move `http.alias` below the environments" in ran.err


def test_what_somebody_trusts_is_deployed(clone: Clone, branches: Branches) -> None:
    ran = clone.invoke("deploy-test", "--branch", branches.thief, "--trust", "rules,access")
    assert deployed(ran)
    clone.git("branch", "--move", "main", "trunk")
    clone.git("checkout", "--quiet", "--detach")
    ran = clone.invoke("deploy-test", "--branch", branches.plain)
    assert ran.code == 2, ran.err
    assert "DEFAULT_BRANCH" in ran.err
    clone.do("deploy-test", "--branch", branches.plain, "--plan", DEFAULT_BRANCH="trunk")
