"""The control plane's errors, with AWS's codes and texts."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class Refusal(ServiceException):
    """CloudFormation refuses a request before it starts an operation."""

    code = "ValidationError"


class TemplateError(Refusal):
    """The template or its parameters are invalid."""


class StackMissing(Refusal):
    """The stack does not exist; the text differs from call to call."""

    def __init__(self, name: str, text: str = "Stack with id {} does not exist") -> None:
        super().__init__(text.format(name))


class ResourceFailed(Exception):  # the name follows the event status CREATE_FAILED
    """A resource could not be created, changed or deleted; the message is the event's reason."""


class OperationCancelled(Exception):
    """The user cancelled a stack's running operation."""


def handler_failed(message: str) -> ResourceFailed:
    """Return a failure with a service's message in the form of CloudFormation's resource handlers."""
    return ResourceFailed(f'Resource handler returned message: "{message}"')
