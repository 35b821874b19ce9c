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

from .paging import InvalidToken, page
from .resources import ACCOUNT, REGION

_PAGE = 100  # https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html


class _InvalidParameter(ServiceException):
    code = "InvalidParameterException"


class _TokenExpired(ServiceException):
    """A token that was never issued has no error of its own: the API's reference has only this one."""

    code = "PaginationTokenExpiredException"


class Responses(BaseResponse):
    """Finds tagged resources of the sandbox's services and of moto's. Other actions are missing."""

    own: Callable[[], Iterator[TaggedResource]]  # resources of the sandbox's services; bound_to sets it

    def __init__(self) -> None:
        super().__init__(service_name="resourcegroupstaggingapi")
        self.automated_parameter_parsing = True

    @classmethod
    def bound_to(cls, own: Callable[[], Iterator[TaggedResource]]) -> type[Responses]:
        """Return a subclass that serves `own`: moto creates an object for each request."""
        return type("BoundResponses", (cls,), {"own": staticmethod(own)})

    def get_resources(self) -> ActionResult:
        types = self._get_param("ResourceTypeFilters") or []
        matches = make_tag_matcher(self._get_param("TagFilters") or [])
        limit = int(self._get_param("ResourcesPerPage") or _PAGE)
        if not 1 <= limit <= _PAGE:
            raise _InvalidParameter(f"ResourcesPerPage must be between 1 and {_PAGE}.")
        # Both the sandbox's service and moto may list an ARN: a page must not end between the two.
        tags_by_arn = {
            resource.arn: resource.tags
            for resource in all_tagged(self.own())
            if resource.tags and match_resource_type(resource.resource_type, types) and matches(resource.tags)
        }
        try:
            shown, token = page(tags_by_arn, str, limit=limit, token=self._get_param("PaginationToken"))
        except InvalidToken as error:
            raise _TokenExpired(f"The PaginationToken {error} is not valid.") from error
        return ActionResult(
            {
                "PaginationToken": token or "",
                "ResourceTagMappingList": [
                    {
                        "ResourceARN": arn,
                        "Tags": [{"Key": key, "Value": value} for key, value in tags_by_arn[arn].items()],
                    }
                    for arn in shown
                ],
            }
        )


def all_tagged(own: Iterator[TaggedResource]) -> Iterator[TaggedResource]:
    """Yield every resource that can have tags: `own`, and moto's."""
    yield from own
    for backend in iter_taggable_backends(ACCOUNT, REGION):
        yield from backend.iter_tagged_resources()
