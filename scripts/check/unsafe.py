"""What Copilot and Docker would read and must not: what `deploy-test` refuses before it starts them."""

from __future__ import annotations

from collections.abc import Iterator

from scripts import trust
from scripts.check.finding import Finding
from scripts.check.project import Project


def paths(project: Project) -> Iterator[Finding]:
    """Paths and links that lead out of the repository, variables of the deployer's, CDK overrides, sizes."""
    told = {each.path for each in project.unreadable}
    for each in project.unsafe:
        if each.path in told:
            continue
        lifted = f" (a deployer can allow it: {trust.SETTING}={each.change})" if each.change else ""
        yield Finding(each.path, each.line, "unsafe", "error", each.what, f"{each.instead}{lifted}")


RULES = (paths,)
