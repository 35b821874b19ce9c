"""Lambda: functions exist but never run, and are refused on runtimes that Lambda no longer accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from moto.awslambda.responses import LambdaResponse
from moto.core.exceptions import ServiceException

from .errors import handler_failed
from .resources import ACCOUNT, REGION, CreatedResource, Handler, ResourceSpec

BLOCKED_RUNTIMES = frozenset(
    {
        "dotnet6",
        "dotnet7",
        "dotnet5.0",
        "dotnetcore1.0",
        "dotnetcore2.0",
        "dotnetcore2.1",
        "dotnetcore3.1",
        "go1.x",
        "java8",
        "nodejs",
        "nodejs4.3",
        "nodejs4.3-edge",
        "nodejs6.10",
        "nodejs8.10",
        "nodejs10.x",
        "nodejs12.x",
        "nodejs14.x",
        "nodejs16.x",
        "nodejs18.x",
        "nodejs20.x",
        "provided",
        "python2.7",
        "python3.6",
        "python3.7",
        "python3.8",
        "ruby2.5",
        "ruby2.7",
    }
)
"""Runtimes on which Lambda neither creates nor updates functions, as of 2026-11.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html, the table of deprecated runtimes.
Lambda announced for nodejs20.x: support ends on 2026-04-30, later creating ends, then updating.
"""


def refusal(runtime: str | None) -> str | None:
    """Return AWS's message for a runtime that it does not accept; None for one that it accepts."""
    if runtime not in BLOCKED_RUNTIMES:
        return None
    return (
        f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda"
        " functions. We recommend you use a supported runtime while creating or updating functions."
    )


class FunctionHandler(Handler):
    """AWS::Lambda::Function. With `accept`, it is created anyway, and `accept` is called with its runtime."""

    def __init__(self, accept: Callable[[str], None] | None = None) -> None:
        self._accept = accept

    def create(self, spec: ResourceSpec) -> CreatedResource:
        self._check(spec)
        name = str(spec.properties.get("FunctionName") or spec.name())
        return CreatedResource(name, {"Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        self._check(spec)
        return created if old.get("FunctionName") == spec.properties.get("FunctionName") else None

    def _check(self, spec: ResourceSpec) -> None:
        message = refusal(spec.properties.get("Runtime"))
        if message and self._accept is not None:
            self._accept(spec.properties["Runtime"])
        elif message:
            raise handler_failed(
                f"{message} (Service: Lambda, Status Code: 400, Request ID: "
                "00000000-0000-0000-0000-000000000000)"
            )


class _InvalidParameter(ServiceException):
    code = "InvalidParameterValueException"


class _NotFound(ServiceException):
    code = "ResourceNotFoundException"


class Responses(LambdaResponse):
    """Lambda's API: moto's, with the runtimes checked."""

    def create_function(self) -> Any:
        self._check_runtime()
        return super().create_function()

    def update_function_configuration(self) -> Any:
        self._check_runtime()
        return super().update_function_configuration()

    def get_policy(self) -> Any:
        """Return a function's policy; a function that does not exist has none to be found either."""
        if unquote(self.path.split("/")[-2]) not in {
            each.function_name for each in self.backend.list_functions()
        }:
            raise _NotFound("The resource you requested does not exist.")
        return super().get_policy()

    def _check_runtime(self) -> None:
        if message := refusal(self.json_body.get("Runtime")):
            raise _InvalidParameter(message)
