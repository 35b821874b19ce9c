"""Names that ECS, CloudFormation or Copilot does not take, each told at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import names
from tests.check.projects import with_manifest
from tests.check.rendered import TOP, marked, places

CASES = {
    "a container with a blank": "sidecars:\n  my redis: {image: 'redis:7.2'}  # HERE\n",
    "a container with the service's name, in a block": (
        "environments:\n  test:\n    sidecars:\n      web: {image: 'redis:7.2'}  # HERE\n"
    ),
    "a topic twice": "publish:\n  topics:\n    - name: a\n    - name: b\n    - name: a  # HERE\n",
    "a misspelt variable": "variables:\n  A: x-${COPILOT_ENVIROMENT_NAME}  # HERE\n",
    "a variable of a shell in a secret": "secrets:\n  A: /x/$COPILOT_ENVIRONMENT_NAME/A  # HERE\n",
    "a variable of a template in an alias": "http:\n  alias: '{{COPILOT_ENVIRONMENT_NAME}}.a.com'  # HERE\n",
    "names that are right": (
        "sidecars: {redis-7_a: {image: 'redis:7.2'}}\n"
        "publish: {topics: [{name: a}, {name: b}]}\n"
        "secrets: {A: '/${COPILOT_ENVIRONMENT_NAME}/A', B: '/x/${COPILOT_X}'}\n"
        "variables: {B: $COPILOT_ENVIRONMENT_NAME, C: '${COPILOT_APPLICATION_NAME}'}\n"
        "command: [sh, -c, 'echo $COPILOT_ENVIRONMENT_NAME']\n"
    ),
}


@pytest.mark.parametrize("manifest", CASES.values(), ids=CASES)
def test_a_name_that_is_not_taken_is_told_at_its_line(workspace: Path, manifest: str) -> None:
    project = with_manifest(workspace, TOP + manifest)
    found = [one for rule in names.RULES for one in rule(project)]
    assert places(found) == marked(workspace)
