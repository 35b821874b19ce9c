"""The `invoke` lines of the files for CI systems, without those that write the page of all deployments."""

from __future__ import annotations

import re

from tests.clone import ROOT

TEMPLATES = ROOT / "scripts/copilot_testenv/adopt/templates/ci"
FILES = (
    "github/.github/workflows/test-environment.yml",
    "bitbucket/bitbucket-pipelines.yml",
    "gitlab/.gitlab-ci.yml",
)


def invocations(name: str) -> list[str]:
    """Each line of that file that calls a task, as the shell gets it."""
    return re.findall(r"^\s*- (?:run: )?(invoke (?!status).+)$", (TEMPLATES / name).read_text(), re.MULTILINE)
