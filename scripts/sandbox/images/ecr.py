"""One call of ECR's, PutImage, through the proxy of the embedded AWS: boto3 would take longer to import."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from scripts.errors import UserError


class PushError(UserError):
    """ECR did not take the image."""


class Target(NamedTuple):
    region: str
    account: str
    repository: str


def put_image(target: Target, *, tag: str, digest: str, manifest: str, timeout: float) -> None:
    """Give ECR an image's manifest under a tag; a tag that means this image already is fine.

    Goes through HTTPS_PROXY, trusting AWS_CA_BUNDLE: only the embedded AWS is ever called from here, so
    without a proxy it refuses. The request is not signed, which moto does not ask for. `timeout` in seconds.
    Raises PushError with ECR's own words.
    """
    proxy = urlsplit(os.environ.get("HTTPS_PROXY", ""))
    authority = os.environ.get("AWS_CA_BUNDLE")
    if not proxy.hostname or not proxy.port or not authority:
        raise PushError(
            "HTTPS_PROXY and AWS_CA_BUNDLE do not name the sandbox's AWS: this `docker` only answers Copilot,"
            " started by `invoke deploy-test`."
        )
    body = json.dumps(
        {
            "registryId": target.account,
            "repositoryName": target.repository,
            "imageManifest": manifest,
            "imageTag": tag,
            "imageDigest": digest,
        }
    )
    key = os.environ.get("AWS_ACCESS_KEY_ID", "sandbox")
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.PutImage",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20200101/{target.region}/ecr/aws4_request,"
        " SignedHeaders=host, Signature=none",
    }
    try:
        connection = http.client.HTTPSConnection(
            proxy.hostname,
            proxy.port,
            timeout=timeout,
            context=ssl.create_default_context(cafile=authority),
        )
        connection.set_tunnel(f"api.ecr.{target.region}.amazonaws.com", 443)
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise PushError(
            f"the embedded AWS at {proxy.hostname}:{proxy.port} did not answer: {error}."
            " See .sandbox/server.log; `invoke sandbox` starts it again."
        ) from error
    if answer.status != http.client.OK and "ImageAlreadyExistsException" not in text:
        raise PushError(f"ECR refused {target.repository}:{tag}: {_reason(answer.status, text)}")


def _reason(status: int, text: str) -> str:
    try:
        document = json.loads(text)
        return f"{document.get('__type', status)}: {document.get('message') or document.get('Message')}"
    except (ValueError, AttributeError):
        return f"HTTP {status}: {text[:200]}"
