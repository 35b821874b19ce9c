"""Read and write a small S3 object that several runs share; a run replaces only the version that it has read.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnectionError

from copilot_testenv.aws.calls import answered_at, throttled
from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed

READ_AT_MOST = 4 << 20  # bytes of an object
_TRIES = 100


class Unreachable(Failed):
    """The store did not answer; a later call may succeed."""


@dataclass(frozen=True)
class Read:
    """The object as it was read. `version` is None where it does not exist; `now` is the store's time."""

    body: bytes | None
    version: str | None
    now: float


class Store(Protocol):
    """A place that stores one object."""

    @property
    def name(self) -> str:
        """The object's name in messages."""

    @property
    def removal(self) -> str:
        """The end of a sentence that tells a person how to delete the object."""

    def read(self) -> Read:
        """Return the object.

        Raises Unreachable where the store does not answer, Failed where it denies access.
        """

    def write(self, body: bytes, version: str | None) -> Read | None:
        """Replace the object if it still has that version, or (None) does not exist.

        Return it as it is then; None where it was not replaced.
        """

    def delete(self, version: str) -> bool:
        """Delete the object if it still has that version; return True if it did."""


def change(store: Store, wanted: Callable[[Read], bytes | None]) -> Read | None:
    """Write the body that `wanted` returns; read again and retry where another run has written in between.

    `wanted` returns None to write nothing. Return what was written. Raises the errors of `store` and
    `wanted`, and Failed after 100 tries.
    """
    for _ in range(_TRIES):
        read = store.read()
        body = wanted(read)
        if body is None:
            return None
        if written := store.write(body, read.version):
            return written
        pause(0.05)
    raise Failed(f"{store.name} cannot be written: too many runs write to it at once. Try again.")


def pause(seconds: float) -> None:
    """Wait for about that time, varied at random, so that two runs do not collide again and again."""
    time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


@dataclass(frozen=True)
class BucketObject:
    """An object in S3, or in the sandbox's S3."""

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
            return "stop the sandbox, which deletes it: `invoke sandbox --stop`"
        words = ("aws", "s3api", "delete-object", "--bucket", self.bucket, "--key", self.key)
        return f"delete it: `{shlex.join((*words, '--region', self.client.meta.region_name))}`"

    def read(self) -> Read:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key)
            with answer["Body"] as stream:
                body = stream.read(READ_AT_MOST)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return Read(None, None, answered_at(error.response))
            raise self._failed("read", error) from error
        except (BotoCoreError, OSError) as error:
            raise self._failed("read", error) from error
        return Read(body, answer["ETag"], answered_at(answer))

    def write(self, body: bytes, version: str | None) -> Read | None:
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        answer = self._call("written", self.client.put_object, Body=body, **condition)
        return Read(body, answer["ETag"], answered_at(answer)) if answer else None

    def delete(self, version: str) -> bool:
        return self._call("deleted", self.client.delete_object, IfMatch=version) is not None

    def _call(self, what: str, operation: Callable[..., Any], **arguments: Any) -> dict[str, Any] | None:
        """Return the answer; None where the object has another version."""
        try:
            answer: dict[str, Any] = operation(Bucket=self.bucket, Key=self.key, **arguments)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 409, 412}:
                return None
            raise self._failed(what, error) from error
        except (BotoCoreError, OSError) as error:
            raise self._failed(what, error) from error
        return answer

    def _failed(self, what: str, error: Exception) -> Failed:
        if why := throttled(error):
            return Unreachable(f"The object {self.name} could not be {what}: {why}")
        reason = f"The object {self.name} could not be {what}: {display.line(str(error)).rstrip('.')}."
        status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0
        passing = (HTTPClientError, NoConnectionError, IncompleteReadError, OSError)
        if status >= 500 or isinstance(error, passing):  # noqa: PLR2004 - HTTP's errors of the server
            return Unreachable(f"{reason} Look at the network, then try again.")
        return Failed(
            f"{reason} The role needs s3:GetObject, s3:PutObject and s3:DeleteObject on the object, "
            "s3:ListBucket on the bucket, and the right to use its key."
        )
