"""ECR's call PutImage through the proxy of the embedded AWS, without boto3, which takes longer to import."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import ssl
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from copilot_sandbox.errors import SandboxError


class PushError(SandboxError):
    """ECR refused the image."""


class Target(NamedTuple):
    region: str
    account: str
    repository: str


def put_image(target: Target, *, tag: str, digest: str, manifest: str, timeout: float) -> None:
    """Store an image's manifest in ECR under a tag. It is no error if the tag already refers to this image.

    The call goes through HTTPS_PROXY and trusts AWS_CA_BUNDLE. It only ever goes to the embedded AWS, so
    without a proxy it is refused. `timeout` is in seconds. Raises PushError with ECR's message.
    """
    proxy = urlsplit(os.environ.get("HTTPS_PROXY", ""))
    authority = os.environ.get("AWS_CA_BUNDLE")
    if not proxy.hostname or not proxy.port or not authority:
        raise PushError(
            "HTTPS_PROXY and AWS_CA_BUNDLE do not name the sandbox's AWS: this `docker` only answers Copilot"
            " when the sandbox has started it."
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
    host = f"api.ecr.{target.region}.amazonaws.com"
    headers = sign(
        {
            "Content-Type": "application/x-amz-json-1.1",
            "Host": host,
            "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.PutImage",
        },
        body.encode(),
        target.region,
    )
    try:
        connection = http.client.HTTPSConnection(
            proxy.hostname,
            proxy.port,
            timeout=timeout,
            context=ssl.create_default_context(cafile=authority),
        )
        connection.set_tunnel(host, 443)
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise PushError(
            f"the embedded AWS at {proxy.hostname}:{proxy.port} did not answer: {error}."
            " See .sandbox/server.log; `invoke sandbox`, or `copilot-sandbox start`, starts it again."
        ) from error
    if answer.status != http.client.OK and "ImageAlreadyExistsException" not in text:
        raise PushError(f"ECR refused {target.repository}:{tag}: {_reason(answer.status, text)}")


def sign(headers: dict[str, str], body: bytes, region: str) -> dict[str, str]:
    """Sign a POST to ECR's `/` with the environment's key. Return all its headers.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = {**headers, "X-Amz-Date": stamp}
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        signed["X-Amz-Security-Token"] = token
    sorted_headers = sorted((name.lower(), value) for name, value in signed.items())
    names = ";".join(name for name, _ in sorted_headers)
    lines = "".join(f"{name}:{value}\n" for name, value in sorted_headers)
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/ecr/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{os.environ.get('AWS_SECRET_ACCESS_KEY', '')}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    signed["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={os.environ.get('AWS_ACCESS_KEY_ID', '')}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}"
    )
    return signed


def _reason(status: int, text: str) -> str:
    try:
        document = json.loads(text)
        return f"{document.get('__type', status)}: {document.get('message') or document.get('Message')}"
    except (ValueError, AttributeError):
        return f"HTTP {status}: {text[:200]}"
