"""Offer the tasks to a project's own `tasks.py`.

A new `tasks.py` of three lines imports `ns`. An existing one calls `add_to` for each entry point of the group
`copilot_testenv`; the group is empty where these tasks are not installed.
"""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

from invoke import Collection, Task

tasks = import_module("copilot_testenv.tasks")  # its place in the wheel; in a clone it is in the top folder
ns: Collection = Collection.from_module(tasks)
_TASKS: dict[str, Task[Any]] = {name: item for name, item in vars(tasks).items() if isinstance(item, Task)}


def add_to(module: MutableMapping[str, Any]) -> None:
    """Add the tasks to a module: to its Collection, else to its names.

    Where the module has a task of the same name, the added task's name begins with `testenv_`.
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
        free = name.rstrip("_") if own is not None else name
        if free in taken:  # Invoke lists a task by the task's own name, not by its name in the module
            free, task = f"testenv_{name.rstrip('_')}", copy.copy(task)  # noqa: PLW2901 - a copy of the same task
            task._name = free  # noqa: SLF001 - it has no public setter
        if own is None:
            module[free] = task
        else:
            own.add_task(task, name=free)
