"""A call of AWS: with whose credentials, where, for how long, and what its errors are."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.core.process import LIFELINE, Variables, is_cut


class Calls:
    """The calls of one run."""

    def __init__(self, env: Variables, region: str | None = None) -> None:
        """Ask with the user's own credentials, unless `env` points elsewhere; in `region` where given."""
        self.env = env
        self._region = region

    @functools.cached_property
    def _session(self) -> boto3.Session:
        if "HTTPS_PROXY" not in self.env:
            # Copilot's SDK reads AWS_REGION, boto3 does not.
            region = self._region or os.environ.get("AWS_REGION")
            return boto3.Session(profile_name=self.env.get("AWS_PROFILE"), region_name=region)
        # No profile and no file of the user's has a say in the sandbox.
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
        """Make boto3's client of a service, once; `quick`: one whose calls last some seconds at most."""
        # Whoever does not answer is given up within a minute: four attempts and the pauses between them.
        retries: Any = {"mode": "standard", "total_max_attempts": 2 if quick else 4}
        proxy = self.env.get("HTTPS_PROXY")
        config = Config(
            connect_timeout=3 if quick else 5,
            read_timeout=5 if quick else 12,
            retries=retries,
            proxies={"https": proxy} if proxy else None,
            # Copilot knows no AWS_ENDPOINT_URL: we must not look at another place than it changes.
            ignore_configured_endpoint_urls=True,
        )
        client = self._session.client(service, config=config, verify=self.env.get("AWS_CA_BUNDLE"))
        if lifeline := self.env.get(LIFELINE):
            client.meta.events.register("before-send", lambda **_: _require_server(Path(lifeline)))
        return client

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """Return the answer. Raises SettingsError, and Answered, which is a Failed."""
        with _errors(service, operation):
            answer: dict[str, Any] = getattr(self.client(service), operation)(**arguments)
        return answer

    def _find(self, service: str, operation: str, /, *absent: str, **arguments: Any) -> dict[str, Any] | None:
        """Return the answer; None where AWS answers with one of the codes `absent`."""
        try:
            return self._ask(service, operation, **arguments)
        except Answered as error:
            if error.code in absent:
                return None
            raise

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the answer's pages, each asked for when it is wanted. Raises as `_ask`."""
        with _errors(service, operation):
            yield from self.client(service).get_paginator(operation).paginate(**arguments)

    def account(self) -> str:
        """Return the account's number, for the first line of a run.

        Raises Failed where credentials are wrong.
        """
        return str(self._ask("sts", "get_caller_identity")["Account"])

    @property
    def region(self) -> str:
        """Return the region asked. Raises SettingsError where none is set."""
        try:
            region = self._session.region_name
        except BotoCoreError as error:  # a profile that is not there
            raise SettingsError(f"Your AWS configuration cannot be used: {error}.") from error
        if not region:
            raise SettingsError("No AWS region is set: set AWS_REGION, or a region in your profile.")
        return str(region)


class Answered(Failed):
    """AWS answered with an error, whose code says which; without a code it did not answer."""

    def __init__(self, service: str, operation: str, error: Exception) -> None:
        known = error.response["Error"] if isinstance(error, ClientError) else {}
        self.code, self.text = str(known.get("Code", "")), str(known.get("Message", ""))
        super().__init__(
            f"AWS did not do {service}:{operation.replace('_', '-')}: "
            f"{display.line(str(error)).rstrip('.')}. "
            "Check the credentials, the region and the rights of this role."
        )


@contextmanager
def _errors(service: str, operation: str) -> Iterator[None]:
    """Raise what goes wrong with a call as an error of ours."""
    try:
        yield
    except (NoCredentialsError, NoRegionError, PartialCredentialsError, ProfileNotFound) as error:
        raise SettingsError(
            f"Your AWS configuration cannot be used: {str(error).rstrip('.')}. Set AWS_PROFILE or the "
            "credentials' variables, and AWS_REGION."
        ) from error
    except _SandboxEnded as error:
        raise Failed(
            "The sandbox's server has ended: what was deployed in it is gone, its databases are kept. "
            "Run the same again."
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise Answered(service, operation, error) from error


class _SandboxEnded(BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """No retry helps: the server that would answer is gone."""

    fmt = "the sandbox's server has ended"


def _require_server(lifeline: Path) -> None:
    if is_cut(lifeline):
        raise _SandboxEnded
