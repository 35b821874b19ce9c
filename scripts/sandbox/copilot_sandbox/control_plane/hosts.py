"""The host names of the embedded AWS: AWS's own names in full, and buckets' names."""

from __future__ import annotations

import re
from functools import cache

import botocore.session
from botocore.regions import EndpointResolver
from moto.backend_index import backend_url_patterns

from .resources import REGION

# Names that SDKs use and that botocore's list of endpoints spells differently.
_EXTRA_NAMES = (
    f"api.ecr.{REGION}.amazonaws.com",
    f"data.iot.{REGION}.amazonaws.com",
    f"elasticloadbalancing.{REGION}.amazonaws.com",
    f"email.{REGION}.amazonaws.com",
    f"monitoring.{REGION}.amazonaws.com",
    f"servicequotas.{REGION}.amazonaws.com",
    f"states.{REGION}.amazonaws.com",
    f"streams.dynamodb.{REGION}.amazonaws.com",
    f"tagging.{REGION}.amazonaws.com",
    "s3.amazonaws.com",
    "sts.amazonaws.com",
)
# AWS's certificate does not cover a bucket name with a dot, so SDKs put such a name into the path.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
_REGIONS = "|".join(map(re.escape, botocore.session.get_session().get_available_regions("s3")))
# A project may name the region of its bucket; S3 is the only service that answers for each region.
_BUCKET = re.compile(
    rf"(?:[a-z0-9](?:[a-z0-9-]{{1,61}})[a-z0-9]\.)?s3(?:[.-](?:{_REGIONS}))?\.amazonaws\.com", re.ASCII
)


def is_served(host: str) -> bool:
    """Return True if the embedded AWS answers to this name. Patterns and other spellings are not names."""
    return host in _names() or _BUCKET.fullmatch(host) is not None


@cache
def _names() -> frozenset[str]:
    session = botocore.session.get_session()
    resolver = EndpointResolver(session.get_data("endpoints"))
    names = set(_EXTRA_NAMES)
    for service in session.get_available_services():
        endpoint = resolver.construct_endpoint(service, REGION) or {}
        names.update(endpoint[key] for key in ("hostname", "sslCommonName") if key in endpoint)
    return frozenset(
        name
        for name in names
        if any(pattern.match(f"https://{name}/") for _, pattern in backend_url_patterns)
    )
