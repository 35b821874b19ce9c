"""Rules on the test environment itself: that it is there, marked, settled, and has its secrets."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.account.look import AccountFinding, Look
from copilot_testenv.copilot import disposable, manifest

_SETTLED = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}


def environment(look: Look) -> Iterator[AccountFinding]:
    """Find an environment that Copilot does not know, that is not whole, or that is not marked."""
    if not look.is_made:
        known = ", ".join(look.environments) or "none"
        yield AccountFinding(
            "environment",
            "error",
            f"Copilot knows no environment {look.test} of {look.settings.app} (it knows {known})",
            "nothing can be deployed to it",
            "make it, once: DEPLOY_TARGET=aws invoke create-env",
        )
        return
    stack = look.aws.stack(look.stack)
    if stack is None or stack.status not in _SETTLED:
        yield AccountFinding(
            "environment",
            "error",
            f"the stack {look.stack} is {stack.status if stack else 'gone'}",
            "a deploy needs the environment's stack at rest",
            "wait for it; if it does not settle, look at its events in the CloudFormation console",
        )
    if not disposable.is_marked(look.settings, look.aws):
        yield AccountFinding(
            "mark",
            "error",
            f"{look.test} is not marked as disposable",
            "no task deploys to it or deletes in it without the mark",
            f"if everything in it may be replaced: {disposable.command(look.settings)}",
        )


def secrets(look: Look) -> Iterator[AccountFinding]:
    """Find secrets of the manifest that do not exist, or that the task's role may not read."""
    settings = look.settings
    if settings.target == "sandbox":  # it gives each secret a value, stored or not
        return
    names = manifest.secret_parameters(look.manifest, settings.app, look.test)
    missing = look.aws.missing_parameters(names)
    wanted = {"copilot-application": settings.app, "copilot-environment": look.test}
    for name in missing:
        yield AccountFinding(
            "secret",
            "error",
            f"the parameter {name} does not exist",
            "a task that names it as a secret does not start",
            "copilot secret init, which gives it the tags too",
        )
    for name in (name for name in names if name not in missing and name.startswith("/")):
        tags = look.aws.parameter_tags(name) or {}
        lacking = [f"{key}={value}" for key, value in wanted.items() if tags.get(key) != value]
        if lacking:
            yield AccountFinding(
                "secret",
                "error",
                f"the parameter {name} lacks the tag {' and '.join(lacking)}",
                "Copilot's role reads only parameters with both tags, so the task does not start",
                f"aws ssm add-tags-to-resource --resource-type Parameter --resource-id {name} --tags "
                + " ".join(
                    f"Key={each.partition('=')[0]},Value={each.partition('=')[2]}" for each in lacking
                ),
            )


RULES = (environment, secrets)
