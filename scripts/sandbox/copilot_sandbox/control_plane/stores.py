"""Reads templates from S3, parameters from SSM, and secrets from Secrets Manager."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlparse

from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

from .errors import TemplateError
from .resources import ACCOUNT, REGION

# A dynamic reference: the service, the secret's ARN or name, and optionally a key of its JSON.
# Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/cfn-example_reference-secret.html
_REFERENCE = re.compile(
    r"\{\{resolve:secretsmanager:((?:arn(?::[^:}]+){6})|[^:}]+)(?::SecretString|:(?=:))?(?::([^:}]*))?[^}]*\}\}"
)

# The same of Parameter Store; a version's number is left out, because a new parameter has only one.
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references-ssm-secure-strings.html
_PARAMETER = re.compile(r"\{\{resolve:ssm(?:-secure)?:([^:}]+)(?::\d+)?\}\}")


def parameter_value(name: str) -> str:
    parameter = ssm_backends[ACCOUNT][REGION].get_parameter(name)
    if parameter is None:
        raise TemplateError(f"Unable to fetch parameters [{name}] from parameter store for this account.")
    return str(parameter.value)


def fetch_template(url: str) -> str:
    """Return a template from the embedded S3. Accepts both forms of S3's addresses."""
    parsed = urlparse(url)
    host, path = parsed.netloc, parsed.path.lstrip("/")
    bucket = host.split(".", 1)[0]
    if bucket == "s3" or bucket.startswith("s3-"):
        bucket, _, path = path.partition("/")
    key = s3_backends[ACCOUNT]["aws"].get_object(bucket, path) if bucket else None
    if key is None:
        raise TemplateError(f"S3 error: The specified key does not exist: {url}")
    return str(key.value.decode())


def secret_value(name: str, key: str = "") -> str:
    """Return a secret of Secrets Manager, by name or ARN; with `key`, that value of the secret's JSON.

    Raises KeyError if the secret or the key does not exist.
    """
    secrets = secretsmanager_backends[ACCOUNT][REGION]
    if name not in secrets.secrets:
        raise KeyError(name)
    text = str(secrets.get_secret_value(name, "", "AWSCURRENT")["SecretString"])
    if not key:
        return text
    try:
        return str(json.loads(text)[key])
    except (ValueError, TypeError):
        raise KeyError(key) from None


def with_secrets(node: Any) -> Any:
    """Replace dynamic references by the secrets' values. Raises TemplateError."""
    if isinstance(node, dict):
        return {key: with_secrets(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_secrets(item) for item in node]
    if not isinstance(node, str) or "{{resolve:" not in node:
        return node
    text = _PARAMETER.sub(lambda found: parameter_value(found[1]), _REFERENCE.sub(_secret, node))
    if "{{resolve:" in text:
        raise TemplateError(f"Template error: the embedded AWS cannot resolve {node}")
    return text


def _secret(reference: re.Match[str]) -> str:
    name, key = reference.groups()
    try:
        return secret_value(name, key or "")
    except KeyError:
        raise TemplateError(f"Could not find a value associated with JSONKey or secret in {name}") from None
