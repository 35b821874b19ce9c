"""The stacks that these tasks have made: no other is replaced or deleted, whatever it is called.

A stack's name does not tell: that of the service `web` in the environment `test` of the application `demo` is
also that of the environment `test-web`, and of what another application may have. Its tags do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings

MADE = ("branch", "commit", "deployed_at", "deployed_by")  # what a deploy of these tasks leaves


def is_ours(stack: Stack, settings: Settings) -> bool:
    """Return True if a deploy of these tasks made the slot's stack.

    One that is only being reviewed holds no resource and may have no tag yet: it must not say otherwise.
    """
    return _belongs(stack, {**_place(settings), "copilot-service": settings.service}) and (
        stack.in_review or all(stack.tags.get(name) for name in MADE)
    )


def is_our_task(stack: Stack, settings: Settings) -> bool:
    """Return True if the stack is what a one-off task in this environment has left."""
    return _belongs(stack, _place(settings))


def require_ours(stack: Stack | None, settings: Settings) -> None:
    """Raise Refused where something stands in the slot that these tasks have not deployed."""
    if stack and not is_ours(stack, settings):
        raise Refused(refusal(stack, settings))


def refusal(stack: Stack, settings: Settings) -> str:
    """Return the reason why the stack stays, and what to do: sentences."""
    start = f"The stack {stack.name} was not deployed by these tasks, so it is neither replaced nor deleted"
    tags = stack.tags
    of = {**_place(settings), "copilot-service": settings.service}
    if any(tags.get(name) != wanted for name, wanted in of.items()):
        told = ", ".join(f"{name}={tags[name]}" for name in of if name in tags) or "none of Copilot's"
        return (
            f"{start}: its tags are {told}. Look at it in the CloudFormation console; to deploy beside it, "
            "name another service in COPILOT_SERVICE."
        )
    return (
        f"{start}: its tags do not say of which branch it is and by whom. If nobody needs it, delete it "
        f"yourself: `copilot svc delete --app {settings.app} --name {settings.service} --env "
        f"{settings.test_env}`. To keep it, deploy the branch beside it with --isolated, or name another "
        "service in COPILOT_SERVICE."
    )


def _place(settings: Settings) -> Mapping[str, str]:
    return {"copilot-application": settings.app, "copilot-environment": settings.test_env}


def _belongs(stack: Stack, wanted: Mapping[str, str]) -> bool:
    """Return True if Copilot's tags are these."""
    tags = stack.tags
    return all(tags.get(name, text if stack.in_review else None) == text for name, text in wanted.items())
