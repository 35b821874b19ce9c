"""List and delete the images of a service in ECR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from copilot_testenv.aws.calls import Answered, Calls
from copilot_testenv.core.errors import Failed


class Images(Calls):
    """Look up and delete images in ECR."""

    def image_tags(self, repository: str) -> list[str]:
        """Return the tags of a repository's images; empty where the repository does not exist."""
        return [image["imageTag"] for image in self.image_list(repository) if "imageTag" in image]

    def delete_image_tags(self, repository: str, tags: Sequence[str]) -> None:
        """Delete these tags; ECR deletes an image with its last tag."""
        if failures := self._delete_images(repository, [{"imageTag": tag} for tag in tags]):
            raise _not_deleted(repository, failures)

    def image_list(self, repository: str) -> list[dict[str, str]]:
        """Return a repository's images as ECR lists them; empty where the repository does not exist."""
        try:
            pages = list(self._pages("ecr", "list_images", repositoryName=repository, maxResults=1000))
        except Answered as error:
            if error.code == "RepositoryNotFoundException":
                return []
            raise
        return [image for page in pages for image in page["imageIds"]]

    def empty_repository(self, repository: str, listed: Sequence[Mapping[str, str]] | None = None) -> None:
        """Delete every image in a repository, where it exists; `listed` is its list, if it is known."""
        left, before = self.image_list(repository) if listed is None else listed, 0
        while digests := {image["imageDigest"] for image in left}:
            failures = self._delete_images(repository, [{"imageDigest": value} for value in sorted(digests)])
            # An image can be deleted only after the manifest list that refers to it: repeat while they get
            # fewer.
            if not failures:
                return
            if len(digests) == before:
                raise _not_deleted(repository, failures)
            left, before = self.image_list(repository), len(digests)

    def _delete_images(self, repository: str, images: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        """Delete images; return ECR's failures, with their reasons."""
        failures: list[dict[str, Any]] = []
        for start in range(0, len(images), 100):  # a call takes 100 images
            page = images[start : start + 100]
            answer = self._ask("ecr", "batch_delete_image", repositoryName=repository, imageIds=page)
            found = answer.get("failures", ())
            failures += [failure for failure in found if failure.get("failureCode") != "ImageNotFound"]
        return failures


def _not_deleted(repository: str, failures: Sequence[Mapping[str, Any]]) -> Failed:
    why = failures[0].get("failureReason") or failures[0].get("failureCode")
    return Failed(f"{len(failures)} images of the repository {repository} could not be deleted: {why}.")
