"""The handler for a stack as a resource of another one, as with Copilot's addons."""

from __future__ import annotations

from typing import Any

from .engine import Engine
from .errors import ResourceFailed
from .resources import Handler, Made, Wanted
from .stacks import Target
from .stores import fetch_template


class NestedStacks(Handler):
    """AWS::CloudFormation::Stack."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _target(self, wanted: Wanted) -> Target:
        parameters = {
            key: ",".join(value) if isinstance(value, list) else str(value)
            for key, value in wanted.properties.get("Parameters", {}).items()
        }
        return Target.read(fetch_template(wanted.properties["TemplateURL"]), parameters, wanted.stack_tags)

    def create(self, wanted: Wanted) -> Made:
        target = self._target(wanted)
        stack = self._engine.finish(None, lambda: self._engine.create_stack(wanted.name(128), target))
        return Made(stack.id, model=stack)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        del old
        target, stack = self._target(wanted), made.model
        if not target.same_as(stack.target):
            self._engine.finish(stack, lambda: self._engine.update_stack(stack, target))
        return made

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        self._engine.finish(made.model, lambda: self._engine.delete_stack(made.physical_id))

    def attribute(self, made: Made, name: str) -> Any:
        outputs = {f"Outputs.{key}": output.value for key, output in made.model.outputs.items()}
        if name not in outputs:
            raise ResourceFailed(f"Output '{name}' not found in stack '{made.physical_id}'")
        return outputs[name]
