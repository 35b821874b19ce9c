"""The embedded AWS: moto with what Copilot needs of CloudFormation, ECS, ELB and Lambda besides."""

from .server import ControlPlaneServer

__all__ = ["ControlPlaneServer"]
