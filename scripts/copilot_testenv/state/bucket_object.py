"""A small object in S3 that several write to: each only over what it has read.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnectionError

from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed

READ_AT_MOST = 4 << 20  # bytes of an object
_TRIES = 100


class Unreachable(Failed):
    """The store did not answer, and may answer in a moment."""


@dataclass(frozen=True)
class Read:
    """The object as it was read: `version` is None where there is none; `now` is the store's clock."""

    body: bytes | None
    version: str | None
    now: float


class Store(Protocol):
    """Where the object lies."""

    @property
    def name(self) -> str:
        """What a message calls it."""

    @property
    def removal(self) -> str:
        """How a person deletes it: the end of a sentence."""

    def read(self) -> Read:
        """Return the object.

        Raise Unreachable where the store does not answer, Failed where it does not allow it.
        """

    def write(self, body: bytes, version: str | None) -> bool:
        """Replace the object if it still has that version, or is still absent; whether that was so."""

    def delete(self, version: str) -> bool:
        """Delete the object if it still has that version; whether that was so."""


def change(store: Store, wanted: Callable[[Read], bytes | None]) -> None:
    """Write what `wanted` makes of the object; where another has written meanwhile, read it and try again.

    None: nothing is to be written. Raises what both raise, and Failed where others write all the time.
    """
    for _ in range(_TRIES):
        read = store.read()
        body = wanted(read)
        if body is None or store.write(body, read.version):
            return
        pause(0.05)
    raise Failed(f"{store.name} cannot be written: too many write to it at once. Try again.")


def pause(seconds: float) -> None:
    """Wait about so long; each a little differently, so that two do not meet again and again."""
    time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


@dataclass(frozen=True)
class BucketObject:
    """An object in S3, or in the sandbox's."""

    client: Any
    bucket: str
    key: str
    in_sandbox: bool = False

    @property
    def name(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def removal(self) -> str:
        if self.in_sandbox:
            return "stop the sandbox, which forgets it: `invoke sandbox --stop`"
        words = ("aws", "s3api", "delete-object", "--bucket", self.bucket, "--key", self.key)
        return f"delete it: `{shlex.join((*words, '--region', self.client.meta.region_name))}`"

    def read(self) -> Read:
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=self.key)
            with found["Body"] as stream:
                body = stream.read(READ_AT_MOST)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return Read(None, None, _date(error.response))
            raise self._failed("read", error) from error
        except (BotoCoreError, OSError) as error:
            raise self._failed("read", error) from error
        return Read(body, found["ETag"], _date(found))

    def write(self, body: bytes, version: str | None) -> bool:
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        return self._change("written", self.client.put_object, Body=body, **condition)

    def delete(self, version: str) -> bool:
        return self._change("deleted", self.client.delete_object, IfMatch=version)

    def _change(self, what: str, change: Callable[..., Any], **arguments: Any) -> bool:
        try:
            change(Bucket=self.bucket, Key=self.key, **arguments)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 409, 412}:
                return False
            raise self._failed(what, error) from error
        except (BotoCoreError, OSError) as error:
            raise self._failed(what, error) from error
        return True

    def _failed(self, what: str, error: Exception) -> Failed:
        reason = f"The object {self.name} could not be {what}: {display.line(str(error)).rstrip('.')}."
        status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0
        passing = (HTTPClientError, NoConnectionError, IncompleteReadError, OSError)
        if status >= 500 or isinstance(error, passing):  # noqa: PLR2004 - HTTP's errors of the server
            return Unreachable(f"{reason} Look at the network, then try again.")
        return Failed(
            f"{reason} The role needs s3:GetObject, s3:PutObject and s3:DeleteObject there, s3:ListBucket on "
            "the bucket, and the use of its key."
        )


def _date(answer: Any) -> float:
    """Return the time by S3's own clock."""
    with suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"].get("date")).timestamp()
    return time.time()
