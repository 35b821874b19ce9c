"""The embedded AWS: moto, with additions for Copilot to the APIs of CloudFormation, ECS, ELB and Lambda.

It stores ECS's services and what their tasks report. The package `agent` runs the tasks.
"""

from . import lean_moto  # noqa: F401 - before moto, whose import it makes quick
from .server import ControlPlaneServer

__all__ = ["ControlPlaneServer"]
