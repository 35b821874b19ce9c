"""The handler of each resource type: the sandbox's own, moto's, or a placeholder."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping

from moto.core.common_models import CloudFormationModel

from .messages import QueuePolicyHandler, SubscriptionHandler, TopicHandler
from .resources import (
    BucketHandler,
    EdgeHandler,
    Handler,
    LogGroupHandler,
    ManagedPolicyHandler,
    MotoHandler,
    RoleHandler,
    RouteTableHandler,
)

_SPECIAL: dict[str, type[MotoHandler]] = {
    "AWS::EC2::RouteTable": RouteTableHandler,
    "AWS::IAM::ManagedPolicy": ManagedPolicyHandler,
    "AWS::IAM::Role": RoleHandler,
    "AWS::Logs::LogGroup": LogGroupHandler,
    "AWS::S3::Bucket": BucketHandler,
    "AWS::SNS::Topic": TopicHandler,
}


class Catalogue:
    """Returns the handler of a resource type: the sandbox's own, moto's, or the placeholder."""

    def __init__(self) -> None:
        self._stand_in = self._custom = Handler()
        edge = EdgeHandler()
        self._handlers: dict[str, Handler] = {
            "AWS::CloudFront::Distribution": edge,
            "AWS::CloudFront::Function": edge,
            # moto looks for a function of its own, and functions are not moto's here.
            "AWS::Lambda::EventSourceMapping": self._stand_in,
            "AWS::Lambda::Permission": self._stand_in,
            "AWS::SNS::Subscription": SubscriptionHandler(),
            "AWS::SQS::QueuePolicy": QueuePolicyHandler(),
        }

    def add(self, handlers: Mapping[str, Handler], custom: Handler) -> None:
        """Add handlers. The constructor cannot: some need the engine, which needs a catalogue."""
        self._handlers.update(handlers)
        self._custom = custom

    def __getitem__(self, type_: str) -> Handler:
        if type_ not in self._handlers:
            self._handlers[type_] = self._find(type_)
        return self._handlers[type_]

    def _find(self, type_: str) -> Handler:
        if type_.startswith("Custom::") or type_ == "AWS::CloudFormation::CustomResource":
            return self._custom
        with contextlib.suppress(ModuleNotFoundError):  # moto does not have this service
            importlib.import_module(f"moto.{type_.split('::')[1].lower()}.models")
        for model in CloudFormationModel.__subclasses__():
            if model.cloudformation_type() == type_:
                return _SPECIAL.get(type_, MotoHandler)(model)
        return self._stand_in
