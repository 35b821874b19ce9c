"""The changes of a branch that need somebody's word, each by the name that gives it."""

from __future__ import annotations

from copilot_testenv.core import display
from copilot_testenv.core.errors import Refused, SettingsError

SETTING = "TRUSTED_CHANGES"

# What each name allows, as an error and `--help` say it.
CHANGES = {
    "access": "let in more addresses than the default branch does",
    "cdk": "run the CDK overrides of the branch, npm packages included, on this machine, where they see your "
    "home folder and, with DEPLOY_TARGET=aws, your AWS_* variables",
    "paths": "read links, large files and folders as they are, within the repository",
    "references": "use secrets, exports, buckets, roles and ARNs that are not of the test environment",
    "resources": "add resources, policies and custom resources by patches and addons",
    "rules": "answer to other hosts, paths and priorities at the load balancer",
}


def parse(text: str, name: str) -> frozenset[str]:
    """Return the changes that a comma-separated list names.

    Raises SettingsError, naming the setting or flag.
    """
    found = frozenset(part.strip() for part in text.split(",") if part.strip())
    if unknown := [repr(display.Given(one)) for one in sorted(found - CHANGES.keys())]:
        raise SettingsError(
            f"{name}={text!r} names what is unknown ({', '.join(unknown)}): write of {', '.join(CHANGES)}, "
            "with commas between them."
        )
    return found


def refused(change: str, reason: str) -> Refused:
    """Return the refusal of a change of that name.

    `reason` says what was found, where, and is one sentence.
    """
    return Refused(
        f"{reason.rstrip('.')}. Nothing was changed. If you trust the branch to "
        f"{CHANGES[change]}, say --trust {change} (or set {SETTING}={change})."
    )
