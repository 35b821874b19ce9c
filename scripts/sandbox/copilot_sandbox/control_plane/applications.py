"""The keys of the programs that run in tasks, and what each may do: always less than the sandbox's own key.

A task gets a key of its task role, with that role's policies. Where a project reads a key of an IAM user from
its secrets, it gets the key of the user `application`: objects, queues, tables, topics and mail, but not
the buckets of Copilot, which have its templates and the tasks' records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.s3.models import s3_backends
from moto.sts.models import sts_backends

from .resources import ACCOUNT, REGION
from .signatures import Key, random_key

_SESSION = "sandbox-task"
_SECONDS = 30 * 24 * 3600
_REGION = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/application"
USER_POLICIES: tuple[Mapping[str, Any], ...] = (
    {
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:*", "sqs:*", "sns:*", "ses:*", "dynamodb:*", "sts:GetCallerIdentity"],
                "Resource": "*",
            },
            {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::stackset-*"},
        ]
    },
)


class Applications:
    """The caller holds the control plane's lock."""

    def __init__(self) -> None:
        self.user = random_key()
        self._keys: dict[str, Key] = {}  # by the role's ARN

    def begin(self) -> None:
        """Forget all keys, because moto's state was deleted."""
        self.user = random_key()
        self._keys = {}

    def is_ours(self, key: str) -> bool:
        """Return True for the id of a key that a program in a task may have."""
        return key == self.user.id or any(each.id == key for each in self._keys.values())

    def user_variables(self) -> dict[str, str]:
        """Return the variables of a program with the user's key."""
        return {**_REGION, "AWS_ACCESS_KEY_ID": self.user.id, "AWS_SECRET_ACCESS_KEY": self.user.secret}

    def task_variables(self, role: str) -> dict[str, str]:
        """Return the variables of a program with a key of a task role; without a role they have no key."""
        if not role:
            return dict(_REGION)
        if role not in self._keys:
            session = sts_backends[ACCOUNT]["aws"].assume_role(REGION, _SESSION, role, "", _SECONDS, "")
            self._keys[role] = Key(session.access_key_id, session.secret_access_key, session.session_token)
        key = self._keys[role]
        return {
            **_REGION,
            "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_SESSION_TOKEN": key.token,
        }


def ensure_bucket(name: str) -> None:
    """Create a bucket if it is missing. moto's refusal of a name is ignored: the project meets it itself."""
    backend = s3_backends[ACCOUNT]["aws"]
    if name not in backend.buckets:
        backend.create_bucket(name, REGION)
