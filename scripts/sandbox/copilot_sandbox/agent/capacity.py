"""The capacity that the emulated Fargate has, for tests: without `capacity.json` it never lacks.

The file in the sandbox's folder is an object. Each key is optional, and the file is read for each task:

    {"capacity": {"FARGATE_SPOT": 0}, "vcpus": {"FARGATE": 0.5}, "addresses": 12}

`capacity` is the number of tasks for which AWS has room, and `vcpus` is the account's quota, by capacity
provider; `addresses` is the number of tasks for which the subnets have addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from copilot_sandbox.model import Service

_GUIDE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different availability zone. "
    + _GUIDE
)
NO_VCPUS = "You\u2019ve reached the limit on the number of vCPUs you can run concurrently. " + _GUIDE
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
NO_ADDRESSES = (
    "Unexpected EC2 error while attempting to Create Network Interface with public IP assignment enabled in "
    "subnet 'subnet-0123456789abcdef0': InsufficientFreeAddressesInSubnet"
)
_UNITS = 1024  # of a task's `cpu` in a vCPU


class Capacity:
    """A lack that keeps one more task from being placed, by the file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def lacks(self, service: Service, running: Iterable[Service]) -> str:
        """Return ECS's reason why a task of the service is not placed; empty where it is.

        `running` has the service of each task that is alive.
        """
        wanted, provider = self._wanted(), _provider(service)
        same = [each for each in running if _provider(each) == provider]
        if len(same) >= _number(wanted.get("capacity"), provider):
            return NO_CAPACITY
        vcpus = sum(_vcpus(each) for each in (*same, service))
        return NO_VCPUS if vcpus > _number(wanted.get("vcpus"), provider) else ""

    def lacks_addresses(self, running: int) -> str:
        """Return the reason why a task ends that gets no address; empty where it gets one."""
        return NO_ADDRESSES if running >= _number(self._wanted(), "addresses") else ""

    def _wanted(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _provider(service: Service) -> str:
    return service.capacity_provider or "FARGATE"


def _vcpus(service: Service) -> float:
    try:
        return float(service.task_definition.cpu) / _UNITS
    except ValueError:
        return 0.0


def _number(found: Any, key: str) -> float:
    """Return a number of the file; without one, as many as there may be."""
    value = found.get(key) if isinstance(found, dict) else None
    return float(value) if isinstance(value, int | float) else float("inf")
