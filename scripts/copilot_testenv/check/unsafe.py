"""Report paths that Copilot or Docker must not read. `deploy-test` refuses them before it starts either."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.core import trust


def paths(project: Project) -> Iterator[Finding]:
    """Find paths and links out of the repository, deployer variables, CDK overrides and too large files.

    What only deploy-test refuses is a finding where deploy-test is used.
    """
    reported = {finding.path for finding in project.unreadable}
    blocking = [wrong for wrong in project.blocking if not wrong.change]
    for wrong in project.unsafe if project.has_test_profile else blocking:
        if wrong.path in reported:
            continue
        permission = f" (a deployer can allow it: {trust.SETTING}={wrong.change})" if wrong.change else ""
        yield Finding(wrong.path, wrong.line, "unsafe", "error", wrong.what, f"{wrong.instead}{permission}")


RULES = (paths,)
