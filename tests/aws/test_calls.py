"""A call that AWS throttles is made again; one that it throttles for long is told in one true line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import disposable
from copilot_testenv.core.errors import Failed, Throttled
from copilot_testenv.core.settings import Settings
from copilot_testenv.state.bucket_object import BucketObject, Unreachable

# Answers of AWS. Sources, below docs.aws.amazon.com: CommonErrors.html of CloudFormation and of ECS,
# API_ListTagsForResource.html of SSM, throttling.html of EC2 and ErrorResponses.html of S3.
_XML = "<Error><Code>{}</Code><Message>Rate exceeded</Message></Error>"
_JSON = '{{"__type": "{}", "message": "Rate exceeded"}}'
# The status and the body of an error, and the body of a success.
THROTTLED: dict[str, tuple[str, str, dict[str, str], int, str, str]] = {
    "Throttling": (
        "cloudformation", "list_stacks", {}, 400, f"<ErrorResponse>{_XML}</ErrorResponse>",
        "<R><ListStacksResult/></R>",
    ),
    "RequestLimitExceeded": (
        "ec2", "describe_vpcs", {}, 503, f"<Response><Errors>{_XML}</Errors></Response>", "<R/>",
    ),
    "ThrottlingException": ("ecs", "list_clusters", {}, 400, _JSON, "{}"),
    "TooManyRequestsException": ("ssm", "get_parameter", {"Name": "/x"}, 429, _JSON, "{}"),
    "SlowDown": ("s3", "head_bucket", {"Bucket": "b"}, 503, _XML, ""),
}  # fmt: skip


class Body:
    def __init__(self, text: str) -> None:
        self._text = text.encode()

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._text

    def read(self, *_: Any) -> bytes:
        return self._text


class Busy:
    """An AWS that answers so many requests with an error, then with success."""

    def __init__(self, code: str, times: int) -> None:
        *_, status, error, success = THROTTLED[code]
        self.error, self.success, self.times, self.sent = (status, error.format(code)), success, times, 0

    def send(self, request: Any) -> AWSResponse:
        self.sent += 1
        status, text = self.error if self.sent <= self.times else (200, self.success)
        return AWSResponse(request.url, status, {}, Body(text))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setattr("time.sleep", lambda _: None)
    for name, value in {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "REGION": "eu-west-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return Aws({})


def throttles(monkeypatch: pytest.MonkeyPatch, code: str, times: int) -> Busy:
    busy = Busy(code, times)
    monkeypatch.setattr(URLLib3Session, "send", lambda _, request: busy.send(request))
    return busy


@pytest.mark.parametrize("code", sorted(set(THROTTLED) - {"SlowDown"}))
def test_a_throttled_call_is_made_again_and_then_told_with_what_to_do(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    service, operation, arguments, *_ = THROTTLED[code]
    busy = throttles(monkeypatch, code, 5)
    aws._ask(service, operation, **arguments)
    assert busy.sent == 6
    busy.sent, busy.times = 0, 1000
    with pytest.raises(Throttled) as caught:
        aws._ask(service, operation, **arguments)
    assert busy.sent == 6
    assert str(caught.value) == (
        f"The AWS call {service}:{operation.replace('_', '-')} failed: AWS gets too many requests from this "
        f"account at once ({code}), also after several attempts. Wait some minutes, then run the same again."
    )


def test_a_throttled_bucket_is_told_so_and_not_as_a_missing_right(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttles(monkeypatch, "SlowDown", 1000)
    store = BucketObject(aws.client("s3", quick=True), "bucket", "key")
    told = r"too many requests .*\(SlowDown\).* Wait some minutes"
    with pytest.raises(Unreachable, match=told):
        store.read()
    with pytest.raises(Unreachable, match=told):
        store.write(b"", None)


def test_a_mark_that_cannot_be_read_for_throttling_is_not_told_as_a_missing_right(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    throttles(monkeypatch, "ThrottlingException", 1000)
    with pytest.raises(Failed, match=r"nothing is changed.*Wait some minutes") as caught:
        disposable.require(settings, aws)
    assert "The role needs" not in str(caught.value)
