"""Name the kinds of change that a branch may make only where a person trusts it."""

from __future__ import annotations

from copilot_testenv.core import display
from copilot_testenv.core.errors import Refused, malformed

SETTING = "TRUSTED_CHANGES"

# Each name, and what it allows; errors quote the text.
CHANGES = {
    "access": "let in more addresses than the default branch does",
    "cdk": "run the CDK overrides of the branch, npm packages included, on this machine, where they see your "
    "home folder and, with DEPLOY_TARGET=aws, your AWS_* variables",
    "paths": "read links, large files and folders as they are, within the repository",
    "references": "use secrets, exports, buckets, roles and ARNs that are not of the test environment",
    "resources": "add resources, policies and custom resources by patches and addons",
    "rules": "answer to other hosts, paths and priorities at the load balancer",
    "submodules": "fetch submodules, with your credentials, from URLs that the default branch does not have",
}


def parse(text: str, name: str) -> frozenset[str]:
    """Return the names in a comma-separated list.

    Raises SettingsError with the name of the setting, UsageError with that of the flag.
    """
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    if unknown := [repr(display.Given(one)) for one in sorted(names - CHANGES.keys())]:
        raise malformed(
            name,
            f"{name}={text!r} has unknown names ({', '.join(unknown)}). Valid names: {', '.join(CHANGES)}, "
            "separated by commas.",
        )
    return names


def refused(change: str, reason: str) -> Refused:
    """Return the error for a change of that name; `reason` is one sentence: the place and the change."""
    return Refused(
        f"{reason.rstrip('.')}. Nothing was changed. If you trust the branch to "
        f"{CHANGES[change]}, use --trust {change} (or set {SETTING}={change})."
    )
