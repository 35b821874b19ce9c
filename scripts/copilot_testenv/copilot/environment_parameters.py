"""The parameters of an environment's stack that name its services.

Each parameter that ends with "Workloads" is a list of services that use a part of the environment, such as
its load balancer: the part is there while the list is not empty. `Aliases` is a JSON object of names by
service.
Source: cf-custom-resources/lib/env-controller.js of aws/copilot-cli 1.34.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

_LISTS = "Workloads"
_ALIASES = "Aliases"


def without(parameters: Mapping[str, str], services: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Return the parameters that change when services are taken out, and the services that stay in them.

    A list is never emptied: the first of these services that is in such a list stays in all parameters, so
    that no part of the environment is deleted while other services' stacks still have rules there. Raises
    ValueError where `Aliases` is not what Copilot writes.
    """
    lists = {
        key: [name for name in value.split(",") if name]
        for key, value in parameters.items()
        if key.endswith(_LISTS)
    }
    staying = {
        next(name for name in services if name in names)
        for names in lists.values()
        if names and set(names) <= set(services)
    }
    leaving = set(services) - staying
    changed = {
        key: ",".join(name for name in names if name not in leaving)
        for key, names in lists.items()
        if leaving & set(names)
    }
    aliases = json.loads(parameters.get(_ALIASES) or "{}")
    if not isinstance(aliases, dict):
        raise ValueError(f"{_ALIASES} is not a JSON object")  # noqa: TRY004 - as json.loads raises
    if leaving & set(aliases):
        left = {name: value for name, value in aliases.items() if name not in leaving}
        changed[_ALIASES] = json.dumps(left, separators=(",", ":")) if left else ""
    return changed, staying
