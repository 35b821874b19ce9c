"""The images of a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from copilot_testenv.aws.calls import Answered, Calls
from copilot_testenv.core.errors import Failed


class Images(Calls):
    """Look up and delete images in ECR."""

    def image_tags(self, repository: str) -> list[str]:
        """Return the tags of a repository's images; empty where there is no such repository."""
        return [image["imageTag"] for image in self._images(repository) if "imageTag" in image]

    def delete_image_tags(self, repository: str, tags: Sequence[str]) -> None:
        """Take these tags away; an image goes with its last one."""
        if failures := self._delete_images(repository, [{"imageTag": tag} for tag in tags]):
            raise _not_deleted(repository, failures)

    def empty_repository(self, repository: str) -> None:
        """Delete every image in it; nothing where there is no such repository."""
        before = 0
        while digests := {image["imageDigest"] for image in self._images(repository)}:
            failures = self._delete_images(repository, [{"imageDigest": each} for each in sorted(digests)])
            # What a manifest list refers to goes after the list: another round, as long as there are fewer.
            if failures and len(digests) == before:
                raise _not_deleted(repository, failures)
            before = len(digests)

    def _images(self, repository: str) -> list[dict[str, str]]:
        try:
            pages = list(self._pages("ecr", "list_images", repositoryName=repository, maxResults=1000))
        except Answered as error:
            if error.code == "RepositoryNotFoundException":
                return []
            raise
        return [image for page in pages for image in page["imageIds"]]

    def _delete_images(self, repository: str, images: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        """Return what could not be deleted, with ECR's reasons."""
        left: list[dict[str, Any]] = []
        for start in range(0, len(images), 100):  # as many as one call takes
            page = images[start : start + 100]
            answer = self._ask("ecr", "batch_delete_image", repositoryName=repository, imageIds=page)
            left += [one for one in answer.get("failures", ()) if one.get("failureCode") != "ImageNotFound"]
        return left


def _not_deleted(repository: str, failures: Sequence[Mapping[str, Any]]) -> Failed:
    why = failures[0].get("failureReason") or failures[0].get("failureCode")
    return Failed(f"{len(failures)} images of the repository {repository} could not be deleted: {why}.")
