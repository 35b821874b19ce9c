"""What CloudFormation reads from the account's other services: templates in S3, values in Parameter Store."""

from __future__ import annotations

from urllib.parse import urlparse

from moto.s3.models import s3_backends
from moto.ssm.models import ssm_backends

from .errors import TemplateError
from .resources import ACCOUNT, REGION


def parameter_value(name: str) -> str:
    parameter = ssm_backends[ACCOUNT][REGION].get_parameter(name)
    if parameter is None:
        raise TemplateError(f"Unable to fetch parameters [{name}] from parameter store for this account.")
    return str(parameter.value)


def fetch_template(url: str) -> str:
    """Read a template from the embedded S3, by either form of S3's addresses."""
    parsed = urlparse(url)
    host, path = parsed.netloc, parsed.path.lstrip("/")
    bucket = host.split(".", 1)[0]
    if bucket == "s3" or bucket.startswith("s3-"):
        bucket, _, path = path.partition("/")
    key = s3_backends[ACCOUNT]["aws"].get_object(bucket, path) if bucket else None
    if key is None:
        raise TemplateError(f"S3 error: The specified key does not exist: {url}")
    return str(key.value.decode())
