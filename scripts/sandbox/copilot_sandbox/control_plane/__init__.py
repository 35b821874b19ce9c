"""The embedded AWS: moto, with additions for Copilot to CloudFormation, ECS, ELB and Lambda."""

from .server import ControlPlaneServer

__all__ = ["ControlPlaneServer"]
