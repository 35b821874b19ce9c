"""What Copilot and Docker would read and must not: what `deploy-test` refuses before it starts them."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.core import trust


def paths(project: Project) -> Iterator[Finding]:
    """Find paths and links that lead out of the repository, deployer variables, CDK overrides, sizes."""
    told = {each.path for each in project.unreadable}
    for each in project.unsafe:
        if each.path in told:
            continue
        lifted = f" (a deployer can allow it: {trust.SETTING}={each.change})" if each.change else ""
        yield Finding(each.path, each.line, "unsafe", "error", each.what, f"{each.instead}{lifted}")


RULES = (paths,)
