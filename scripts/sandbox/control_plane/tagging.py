"""The Resource Groups Tagging API, by which Copilot finds its stacks, clusters and services."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from moto.core.resource_tagging import (
    TaggedResource,
    iter_taggable_backends,
    make_tag_matcher,
    match_resource_type,
)
from moto.core.responses import ActionResult, BaseResponse

from .resources import ACCOUNT, REGION


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
        return ActionResult(
            {
                "PaginationToken": "",
                "ResourceTagMappingList": [
                    {
                        "ResourceARN": resource.arn,
                        "Tags": [{"Key": key, "Value": value} for key, value in resource.tags.items()],
                    }
                    for resource in everything(self.own())
                    if resource.tags
                    and match_resource_type(resource.resource_type, types)
                    and matches(resource.tags)
                ],
            }
        )


def everything(own: Iterator[TaggedResource]) -> Iterator[TaggedResource]:
    """Every resource that can carry tags: `own`, and moto's."""
    yield from own
    for backend in iter_taggable_backends(ACCOUNT, REGION):
        yield from backend.iter_tagged_resources()
