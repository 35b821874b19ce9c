"""The Resource Groups Tagging API, by which Copilot finds its stacks, clusters and services."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from moto.core.exceptions import ServiceException
from moto.core.resource_tagging import (
    TaggedResource,
    iter_taggable_backends,
    make_tag_matcher,
    match_resource_type,
)
from moto.core.responses import ActionResult, BaseResponse

from .paging import TokenWrong, page
from .resources import ACCOUNT, REGION

_PAGE = 100  # https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html


class _InvalidParameter(ServiceException):
    code = "InvalidParameterException"


class Responses(BaseResponse):
    """Finds resources of ours and of moto's; the other actions are not there."""

    own: Callable[[], Iterator[TaggedResource]]  # set by bound_to

    def __init__(self) -> None:
        super().__init__(service_name="resourcegroupstaggingapi")
        self.automated_parameter_parsing = True

    @classmethod
    def bound_to(cls, own: Callable[[], Iterator[TaggedResource]]) -> type[Responses]:
        """Make a class of it that serves `own`: moto makes an object of its own for each request."""
        return type("BoundResponses", (cls,), {"own": staticmethod(own)})

    def get_resources(self) -> ActionResult:
        types = self._get_param("ResourceTypeFilters") or []
        matches = make_tag_matcher(self._get_param("TagFilters") or [])
        limit = int(self._get_param("ResourcesPerPage") or _PAGE)
        if not 1 <= limit <= _PAGE:
            raise _InvalidParameter(f"ResourcesPerPage must be between 1 and {_PAGE}.")
        # One ARN may be told of twice, by us and by moto: a page must not end between the two.
        found = {
            resource.arn: resource.tags
            for resource in everything(self.own())
            if resource.tags and match_resource_type(resource.resource_type, types) and matches(resource.tags)
        }
        try:
            shown, token = page(found, str, limit=limit, token=self._get_param("PaginationToken"))
        except TokenWrong as error:
            raise _InvalidParameter(f"The PaginationToken {error} is not valid.") from error
        return ActionResult(
            {
                "PaginationToken": token or "",
                "ResourceTagMappingList": [
                    {
                        "ResourceARN": arn,
                        "Tags": [{"Key": key, "Value": value} for key, value in found[arn].items()],
                    }
                    for arn in shown
                ],
            }
        )


def everything(own: Iterator[TaggedResource]) -> Iterator[TaggedResource]:
    """Every resource that can carry tags: `own`, and moto's."""
    yield from own
    for backend in iter_taggable_backends(ACCOUNT, REGION):
        yield from backend.iter_tagged_resources()
