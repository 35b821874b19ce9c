"""Recognize the stacks that these tasks have deployed; they never replace or delete another one.

A stack's name is not enough. The service `web` in the environment `test` of the application `demo` has the
same stack name as the environment `test-web`, and another application can have a stack of that name too. So
the tags decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings

MADE = ("branch", "commit", "deployed_at", "deployed_by")  # tags that every deploy of these tasks sets


def is_ours(stack: Stack, settings: Settings) -> bool:
    """Return True if these tasks deployed the slot's stack.

    A stack that is still in review has no resource and may have no tag yet: only its other tags must match.
    """
    return _belongs(stack, {**_place(settings), "copilot-service": settings.service}) and (
        stack.in_review or all(stack.tags.get(name) for name in MADE)
    )


def is_our_task(stack: Stack, settings: Settings) -> bool:
    """Return True if the stack is a one-off task's in this environment."""
    return _belongs(stack, _place(settings))


def require_ours(stack: Stack | None, settings: Settings) -> None:
    """Raise Refused where these tasks did not deploy the slot's stack."""
    if stack and not is_ours(stack, settings):
        raise Refused(refusal(stack, settings))


def refusal(stack: Stack, settings: Settings) -> str:
    """Return the message why the stack is not changed, with the next step."""
    start = f"The stack {stack.name} was not deployed by these tasks, so it is neither replaced nor deleted"
    tags = stack.tags
    expected = {**_place(settings), "copilot-service": settings.service}
    if any(tags.get(name) != wanted for name, wanted in expected.items()):
        actual = ", ".join(f"{name}={tags[name]}" for name in expected if name in tags) or "not Copilot's"
        return (
            f"{start}: its tags are {actual}. Look at it in the CloudFormation console; to deploy beside it, "
            "name another service in COPILOT_SERVICE."
        )
    return (
        f"{start}: its tags name no branch and no person. If nobody needs it, delete it yourself: `copilot "
        f"svc delete --app {settings.app} --name {settings.service} --env {settings.test_env}`. To keep it, "
        "deploy the branch beside it with --isolated, or name another service in COPILOT_SERVICE."
    )


def _place(settings: Settings) -> Mapping[str, str]:
    return {"copilot-application": settings.app, "copilot-environment": settings.test_env}


def _belongs(stack: Stack, wanted: Mapping[str, str]) -> bool:
    """Return True if the stack has these tags; in review it may lack them."""
    tags = stack.tags
    return all(tags.get(name, text if stack.in_review else None) == text for name, text in wanted.items())
