"""The tasks as Invoke collects them, for a `tasks.py` that is not ours.

A `tasks.py` of three lines takes `ns`; one that a team has already calls `add_to` for each entry point of the
group `copilot_testenv`, of which there is none where these tasks are not installed.
"""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

from invoke import Collection, Task

tasks = import_module("copilot_testenv.tasks")  # the wheel has it there; a clone has it at its top
ns: Collection = Collection.from_module(tasks)
_TASKS: dict[str, Task[Any]] = {name: each for name, each in vars(tasks).items() if isinstance(each, Task)}


def add_to(module: MutableMapping[str, Any]) -> None:
    """Add the tasks to a module's own: to the Collection that it builds, else to its names.

    A task of the module's keeps its name; ours has it with `testenv_` in front then.
    """
    own = next(
        (module[name] for name in ("ns", "namespace") if isinstance(module.get(name), Collection)), None
    )
    taken = (
        set(module)
        if own is None
        else set(own.task_names) | {name.replace("-", "_") for name in own.task_names}
    )
    for name, task in _TASKS.items():
        free = name
        if name in taken:  # Invoke lists a module's task by the task's own name, whatever the module calls it
            free, task = f"testenv_{name}", copy.copy(task)  # noqa: PLW2901 - another of the same
            task._name = free  # noqa: SLF001 - it has no public setter
        if own is None:
            module[free] = task
        else:
            own.add_task(task, name=free)
