"""The base of CloudFormation's API actions: reads the request's parameters and divides answers into pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from moto.core.responses import BaseResponse

from .engine import Engine
from .errors import Refusal
from .paging import InvalidToken, page
from .stack_sets import StackSets
from .stacks import DesiredState, Stack
from .stores import fetch_template

_T = TypeVar("_T")

PAGE = 100
"""Items on a page. AWS documents this number for exports, stack sets and their instances. For the others it
documents pages of 1 MB, but 100 items are observed: https://github.com/rebuy-de/aws-nuke/issues/240 (stacks),
https://github.com/ansible/ansible/pull/41840 (events).
"""


class Actions(BaseResponse):
    """The base of the actions: one method for each, as moto's dispatcher requires."""

    engine: Engine  # bound_to sets these two
    sets: StackSets

    def __init__(self) -> None:
        super().__init__(service_name="cloudformation")
        self.automated_parameter_parsing = True

    @classmethod
    def bound_to(cls, engine: Engine, sets: StackSets) -> type[Actions]:
        """Return a subclass with this engine and these sets: moto creates an object for each request."""
        return type("BoundResponses", (cls,), {"engine": engine, "sets": sets})

    def _name(self) -> str:
        return str(self._get_param("StackName"))

    def _stack(self) -> Stack:
        return self.engine.stacks.find(self._name())

    def _tags(self, old_tags: dict[str, str]) -> dict[str, str]:
        tags = self._get_param("Tags")
        return old_tags if tags is None else {str(tag["Key"]): str(tag["Value"]) for tag in tags}

    def _text(self, before: DesiredState | None) -> str:
        if url := self._get_param("TemplateURL"):
            if not str(url).startswith("https://"):
                raise Refusal("TemplateURL must be a supported URL.")
            return fetch_template(str(url))
        if body := self._get_param("TemplateBody"):
            return str(body)
        if before is not None and self._get_param("UsePreviousTemplate", if_none=False):
            return before.text
        raise Refusal("Either Template URL or Template Body must be specified.")

    def _desired(self, before: DesiredState | None) -> DesiredState:
        text = self._text(before)
        old = before.parameters if before else {}
        parameters = {}
        for item in self._get_param("Parameters") or []:
            key = str(item["ParameterKey"])
            if item.get("UsePreviousValue"):
                if key in old:
                    parameters[key] = old[key]
            else:
                parameters[key] = str(item.get("ParameterValue", ""))
        return DesiredState.read(text, parameters, self._tags(dict(before.tags) if before else {}))

    def _page(
        self,
        items: Iterable[_T],
        key: Callable[[_T], str],
        *,
        limit: int = PAGE,
        backwards: bool = False,
    ) -> tuple[list[_T], str | None]:
        token = self._get_param("NextToken")
        try:
            return page(items, key, limit=limit, token=token, backwards=backwards)
        except InvalidToken as error:
            raise Refusal(f"The NextToken {error} is not valid.") from error
