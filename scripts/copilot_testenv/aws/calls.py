"""Call AWS: choose the credentials, the region and the timeouts, and translate the errors."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed, SettingsError, Throttled
from copilot_testenv.core.process import LIFELINE, Variables, is_cut

# Pauses grow from a second to 16, varied at random: a throttled call is tried for a quarter of a minute on
# average. One without an answer fails within a minute, and the pauses.
_ATTEMPTS = 6
# Sources: botocore/retries/standard.py, which tries these again;
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_THROTTLED = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


class Calls:
    """Make the calls of one run."""

    def __init__(
        self,
        env: Variables,
        region: str | None = None,
        assume: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        """Use the user's own credentials, or those in `env`, or those of a role, which `assume` gets.

        The region is `region`, else the configured one.
        """
        self.env = env
        self._region = region
        self._assume = assume

    @functools.cached_property
    def _session(self) -> boto3.Session:
        session = self._own_session()
        if self._assume:
            assume = self._assume
            # The library asks for new ones before these end.
            session._session._credentials = RefreshableCredentials.create_from_metadata(  # noqa: SLF001
                metadata=assume(), refresh_using=assume, method="sts-assume-role"
            )
        return session

    def _assumed(self, role: str) -> dict[str, str]:
        """Return credentials of a role, which last an hour, in botocore's form."""
        found = self._ask("sts", "assume_role", RoleArn=role, RoleSessionName="copilot-testenv")[
            "Credentials"
        ]
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": found["Expiration"].isoformat(),
        }

    def _own_session(self) -> boto3.Session:
        if "HTTPS_PROXY" not in self.env:
            # Copilot's SDK reads AWS_REGION, boto3 does not.
            region = self._region or os.environ.get("AWS_REGION")
            return boto3.Session(profile_name=self.env.get("AWS_PROFILE"), region_name=region)
        # In the sandbox the user's profiles and AWS files are not read.
        unset, nowhere = (None, None, None, None), (None, None, os.devnull, None)
        own = botocore.session.Session(
            {"profile": unset, "config_file": nowhere, "credentials_file": nowhere}
        )
        return boto3.Session(
            botocore_session=own,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_REGION"],
        )

    @functools.cache  # noqa: B019 - one Aws lives as long as the command
    def client(self, service: str, *, quick: bool = False) -> Any:
        """Return boto3's client of a service, created once.

        With `quick`, its calls take some seconds at most.
        """
        retries: Any = {"mode": "standard", "total_max_attempts": 2 if quick else _ATTEMPTS}
        proxy = self.env.get("HTTPS_PROXY")
        config = Config(
            connect_timeout=3 if quick else 5,
            read_timeout=5 if quick else 9,
            retries=retries,
            proxies={"https": proxy} if proxy else None,
            # Copilot ignores AWS_ENDPOINT_URL; these calls must go to the same AWS as Copilot's.
            ignore_configured_endpoint_urls=True,
        )
        client = self._session.client(service, config=config, verify=self.env.get("AWS_CA_BUNDLE"))
        if lifeline := self.env.get(LIFELINE):
            client.meta.events.register("before-send", lambda **_: _require_server(Path(lifeline)))
        return client

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """Make a call and return the answer. Raises SettingsError, Throttled, Answered."""
        with _errors(service, operation):
            answer: dict[str, Any] = getattr(self.client(service), operation)(**arguments)
        return answer

    def _find(self, service: str, operation: str, /, *absent: str, **arguments: Any) -> dict[str, Any] | None:
        """Make a call and return the answer; None where AWS answers with one of the error codes `absent`."""
        try:
            return self._ask(service, operation, **arguments)
        except Answered as error:
            if error.code in absent:
                return None
            raise

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the answer's pages; request each one when the caller needs it. Raises as `_ask`."""
        with _errors(service, operation):
            yield from self.client(service).get_paginator(operation).paginate(**arguments)

    def account(self) -> str:
        """Return the account's number. Raises Failed where the credentials are wrong."""
        return str(self._ask("sts", "get_caller_identity")["Account"])

    @property
    def region(self) -> str:
        """The region of the calls. Raises SettingsError where none is set."""
        try:
            region = self._session.region_name
        except BotoCoreError as error:  # the profile does not exist
            raise SettingsError(f"Your AWS configuration cannot be used: {error}.") from error
        if not region:
            raise SettingsError("No AWS region is set: set AWS_REGION, or a region in your profile.")
        return str(region)


class Answered(Failed):
    """AWS answered with an error; `code` is AWS's error code, empty where AWS did not answer."""

    def __init__(self, service: str, operation: str, error: Exception) -> None:
        known = error.response["Error"] if isinstance(error, ClientError) else {}
        self.code, self.text = str(known.get("Code", "")), str(known.get("Message", ""))
        super().__init__(
            f"The AWS call {service}:{operation.replace('_', '-')} failed: "
            f"{display.line(str(error)).rstrip('.')}. "
            "Check the credentials, the region and the rights of this role."
        )


def throttled(error: Exception) -> str:
    """Return the reason and the next step where AWS gets too many requests; empty for another error."""
    code = str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""
    if code not in _THROTTLED:
        return ""
    return (
        f"AWS gets too many requests from this account at once ({code}), also after several attempts. Wait "
        "some minutes, then run the same again."
    )


def answered_at(answer: Any) -> float:
    """Return the time of AWS's clock, in Unix seconds; this machine's where the answer has none."""
    with suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"].get("date")).timestamp()
    return time.time()


@contextmanager
def _errors(service: str, operation: str) -> Iterator[None]:
    """Translate botocore's errors into the errors of core.errors."""
    try:
        yield
    except (NoCredentialsError, NoRegionError, PartialCredentialsError, ProfileNotFound) as error:
        raise SettingsError(
            f"Your AWS configuration cannot be used: {str(error).rstrip('.')}. Set AWS_PROFILE or the "
            "credentials' variables, and AWS_REGION."
        ) from error
    except _SandboxEnded as error:
        raise Failed(
            "The sandbox's server has ended: its deployments are gone, its databases are kept. Run the same "
            "again."
        ) from error
    except (BotoCoreError, ClientError) as error:
        if why := throttled(error):
            raise Throttled(f"The AWS call {service}:{operation.replace('_', '-')} failed: {why}") from error
        raise Answered(service, operation, error) from error


class _SandboxEnded(BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """The sandbox's server is gone; botocore does not retry this error."""

    fmt = "the sandbox's server has ended"


def _require_server(lifeline: Path) -> None:
    if is_cut(lifeline):
        raise _SandboxEnded
