"""The control plane's errors, in AWS's codes and words."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class Refusal(ServiceException):
    """CloudFormation says no before it starts anything."""

    code = "ValidationError"


class TemplateError(Refusal):
    """The template or its parameters are wrong."""


class StackMissing(Refusal):
    """There is no such stack."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Stack with id {name} does not exist")


class ResourceFailed(Exception):  # it is an event's status, CREATE_FAILED, and named so
    """A resource could not be made, changed or taken away; the words are the event's reason."""


class OperationCancelled(Exception):  # the user asked for it
    """The user cancelled what was under way on a stack."""


def handler_failed(message: str) -> ResourceFailed:
    """Wrap a service's own message as CloudFormation's resource handlers do."""
    return ResourceFailed(f'Resource handler returned message: "{message}"')
