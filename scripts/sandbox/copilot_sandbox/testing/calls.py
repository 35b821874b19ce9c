"""Names the operation that a request calls, and its service's errors for throttling and failure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import botocore.session
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound

from copilot_sandbox.control_plane.failures import Failure

# Error codes that boto3 and the Go SDK treat as throttling and retry:
# https://github.com/boto/botocore/blob/develop/botocore/data/_retry.json and
# https://github.com/aws/aws-sdk-go/blob/main/aws/request/retryer.go
# The codes by service: its errors in botocore's model, and for services whose model has none
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
_THROTTLED = {
    "ec2": Failure(503, "RequestLimitExceeded", "Request limit exceeded."),
    "lambda": Failure(429, "TooManyRequestsException", "Rate exceeded"),
    "resourcegroupstaggingapi": Failure(400, "ThrottledException", "Rate exceeded"),
    "s3": Failure(503, "SlowDown", "Please reduce your request rate."),
}
_THROTTLED_BY_PROTOCOL = {"json": Failure(400, "ThrottlingException", "Rate exceeded")}
_THROTTLED_ELSEWHERE = Failure(400, "Throttling", "Rate exceeded")

# Sources: S3's above, and https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/CommonErrors.html
_BROKEN = {"s3": Failure(500, "InternalError", "We encountered an internal error. Please try again.")}
_BROKEN_ELSEWHERE = Failure(
    500, "InternalFailure", "The request processing has failed because of an unknown error."
)


@dataclass(frozen=True)
class Call:
    """The operation of a request; as text `service:Operation` in boto3's names."""

    service: str
    operation: Any  # moto's model of it; None if moto does not know the operation
    protocol: str

    def __str__(self) -> str:
        return f"{self.service}:{self.operation.name if self.operation else 'Unknown'}"

    def failure(self, kind: Literal["throttle", "server-error"]) -> Failure:
        """Return the service's error for throttling or an internal failure."""
        if kind == "server-error":
            return _BROKEN.get(self.service, _BROKEN_ELSEWHERE)
        by_protocol = _THROTTLED_BY_PROTOCOL.get(self.protocol, _THROTTLED_ELSEWHERE)
        return _THROTTLED.get(self.service, by_protocol)


def read_call(moto_name: str, request: Request) -> Call:
    """Return the operation of `request`. `moto_name` is moto's name of the service."""
    service = _boto3_name(moto_name)
    try:
        operation, _ = get_service_router(service).match(request)
    except (NotFound, NotImplementedError):
        return Call(service, None, "")
    return Call(service, operation, determine_request_protocol(operation.service_model, request.content_type))


@cache
def _boto3_name(moto_name: str) -> str:
    """Return boto3's name of a service. moto omits dashes and has other names for two of the services."""
    # Only the second generation of ELB is supported here.
    renamed = {"awslambda": "lambda", "elb": "elbv2"}
    names = {name.replace("-", ""): name for name in botocore.session.get_session().get_available_services()}
    return renamed.get(moto_name) or names.get(moto_name, moto_name)
