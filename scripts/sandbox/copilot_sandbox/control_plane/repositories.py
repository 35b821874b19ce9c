"""ECR: moto's, with AWS's treatment of images that lose their tag, and AWS's limit of images a call."""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import ServiceException
from moto.ecr.models import Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from .resources import ACCOUNT, REGION

# Source: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
_MOST_IMAGES = 100


def has_image(reference: str) -> bool:
    """Return True if ECR now has `registry/repository:tag`, or `…@sha256:…`."""
    path, at, digest = reference.partition("/")[2].partition("@")
    name, _, tag = path.partition(":")
    repository = ecr_backends[ACCOUNT][REGION].repositories.get(name)
    if repository is None:
        return False
    if at:
        return any(image.image_digest == digest for image in repository.images)
    return any((tag or "latest") in image.image_tags for image in repository.images)


class _InvalidParameter(ServiceException):
    code = "InvalidParameterException"


class Responses(ECRResponse):
    """ECR's API."""

    def put_image(self) -> Any:
        """Keep an image without a tag if its last tag moves to the new image; moto would delete it.

        Source: https://github.com/alantech/iasql/pull/1346
        """
        tag = self._get_param("imageTag")
        repository: Repository | None = self.ecr_backend.repositories.get(self._get_param("repositoryName"))
        before = list(repository.images) if repository else []
        answer = super().put_image()
        if repository:
            for image in before:
                if image not in repository.images:
                    image.remove_tag(tag)
                    repository.images.append(image)
        return answer

    def batch_delete_image(self) -> Any:
        if len(self._get_param("imageIds") or []) > _MOST_IMAGES:
            # Source of the text: https://github.com/trek10inc/ecr-cleaner/issues/8
            raise _InvalidParameter(
                "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length less"
                f" than or equal to {_MOST_IMAGES}'"
            )
        return super().batch_delete_image()
