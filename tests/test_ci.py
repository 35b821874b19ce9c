"""The files for CI systems: lawful, and nothing but the tasks' own commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from invoke.parser import Parser

from tests.ci_files import FILES, ROOT, invocations
from tests.test_tasks import collection

WORKFLOW = ROOT / ".github/workflows/test-environment.yml"
PREPARE = ROOT / ".github/actions/prepare/action.yml"


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", WORKFLOW),
        ("vendor.github-actions", PREPARE),
        ("vendor.gitlab-ci", ROOT / ".gitlab-ci.yml"),
        ("vendor.bitbucket-pipelines", ROOT / "bitbucket-pipelines.yml"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_file_passes_the_systems_own_schema(schema: str, path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FILES)
def test_each_system_has_the_four_jobs_in_one_call_each(name: str) -> None:
    found = [shlex.split(line.split(" > ")[0]) for line in invocations(name)]
    assert sorted(words[1] for words in found) == ["check", "deploy-test", "teardown", "teardown"]
    assert ["--expired" in words for words in found].count(True) == 1
    for words in found:
        context = Parser(contexts=collection().to_contexts()).parse_argv(
            words[1:]
        )  # raises where a flag is unknown
        assert context[0].name == words[1]
        assert ("--wait" in words) == (words[1] != "check")
        assert ("--yes" in words) == (words[1] == "teardown")


def test_no_file_names_a_key_of_aws() -> None:
    for name in FILES:
        assert not re.search("AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)", (ROOT / name).read_text())


def test_what_somebody_typed_never_stands_in_a_line_that_a_shell_reads() -> None:
    for line in WORKFLOW.read_text().splitlines():
        if line.strip().startswith(("run:", "- run:")):
            assert "${{" not in line


def test_each_action_of_others_is_pinned_to_a_commit() -> None:
    used = re.findall(r"uses: (\S+)", WORKFLOW.read_text() + PREPARE.read_text())
    others = [action for action in used if not action.startswith("./")]
    assert len(others) >= 5
    assert all(re.search(r"@[0-9a-f]{40}$", action) for action in others)
