"""The embedded AWS: moto, with additions for Copilot to the APIs of CloudFormation, ECS, ELB and Lambda.

It stores ECS's services and what their tasks report. The package `agent` runs the tasks.
"""

from .server import ControlPlaneServer

__all__ = ["ControlPlaneServer"]
