"""The handler for a stack as a resource of another one, as with Copilot's addons."""

from __future__ import annotations

from typing import Any

from .engine import Engine
from .errors import ResourceFailed
from .resources import CreatedResource, Handler, ResourceSpec
from .stacks import DesiredState
from .stores import fetch_template
from .templates import as_text


class NestedStacks(Handler):
    """AWS::CloudFormation::Stack."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _desired(self, spec: ResourceSpec) -> DesiredState:
        parameters = {
            key: ",".join(value) if isinstance(value, list) else as_text(value)
            for key, value in spec.properties.get("Parameters", {}).items()
        }
        return DesiredState.read(fetch_template(spec.properties["TemplateURL"]), parameters, spec.stack_tags)

    def create(self, spec: ResourceSpec) -> CreatedResource:
        desired = self._desired(spec)
        stack = self._engine.finish(None, lambda: self._engine.create_stack(spec.name(128), desired))
        return CreatedResource(stack.id, model=stack)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        del old
        desired, stack = self._desired(spec), created.model
        if not desired.same_as(stack.desired):
            self._engine.finish(stack, lambda: self._engine.update_stack(stack, desired))
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        self._engine.finish(created.model, lambda: self._engine.delete_stack(created.physical_id))

    def attribute(self, created: CreatedResource, name: str) -> Any:
        outputs = {f"Outputs.{key}": output.value for key, output in created.model.outputs.items()}
        if name not in outputs:
            raise ResourceFailed(f"Output '{name}' not found in stack '{created.physical_id}'")
        return outputs[name]
