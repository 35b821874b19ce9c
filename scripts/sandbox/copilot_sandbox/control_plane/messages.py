"""Topics, their subscriptions, and queues' policies: what is published reaches the queues that subscribe."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moto.sns.models import SNSBackend, sns_backends
from moto.sqs.models import Queue, sqs_backends

from .errors import handler_failed
from .resources import ACCOUNT, REGION, CreatedResource, Handler, MotoHandler, ResourceSpec

if TYPE_CHECKING:
    import threading

_FIXED = ("TopicArn", "Protocol", "Endpoint")  # a change of one replaces the subscription
_ATTRIBUTES = ("FilterPolicyScope", "FilterPolicy", "RawMessageDelivery", "RedrivePolicy", "DeliveryPolicy")


class TopicHandler(MotoHandler):
    """AWS::SNS::Topic. Copilot finds it by its tags: it lets a worker subscribe to what it finds."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        created = super().create(spec)
        own = {name: value for name, value in spec.tags().items() if not name.startswith("aws:")}
        _backend().tag_resource(created.physical_id, own)
        return created


class SubscriptionHandler(Handler):
    """AWS::SNS::Subscription, which moto's CloudFormation does not have."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        topic, protocol, endpoint = (str(spec.properties.get(name, "")) for name in _FIXED)
        if topic not in _backend().topics:
            raise handler_failed(f"Topic does not exist: {topic} (Service: Sns, Status Code: 404)")
        made = _backend().subscribe(topic, endpoint, protocol)
        _set(made.arn, {}, spec)
        return CreatedResource(made.arn, {"Arn": made.arn})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if any(old.get(name) != spec.properties.get(name) for name in _FIXED):
            return None
        _set(created.physical_id, old, spec)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        _backend().unsubscribe(created.physical_id)


class QueuePolicyHandler(Handler):
    """AWS::SQS::QueuePolicy. Copilot lets a worker read its queue by it; `testing.access` looks at it."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        _set_policy(spec)
        return super().create(spec)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        _set_policy(replace(spec, properties={**old, "PolicyDocument": None}))
        _set_policy(spec)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del created
        _set_policy(replace(spec, properties={**spec.properties, "PolicyDocument": None}))


def _set_policy(spec: ResourceSpec) -> None:
    """Give the queues the policy, or none where it is no mapping."""
    policy = spec.properties.get("PolicyDocument")
    for url in spec.properties.get("Queues") or ():
        if queue := queue_named(str(url).rsplit("/", 1)[-1]):
            queue.policy = json.dumps(policy) if isinstance(policy, dict) else ""


def queue_named(name: str) -> Any:
    """Return moto's queue of that name; None where there is none."""
    return sqs_backends[ACCOUNT][REGION].queues.get(name)


def let_others_call(lock: threading.RLock) -> None:
    """Give up the control plane's lock while a call waits for messages: nobody could send one meanwhile."""

    def wait_for_messages(queue: Any, timeout: int) -> None:
        lock.release()
        try:
            with queue._messages_lock:  # noqa: SLF001 - as moto's own method waits
                queue._messages_lock.wait_for(lambda: queue.messages, timeout=timeout)  # noqa: SLF001
        finally:
            lock.acquire()

    Queue.wait_for_messages = wait_for_messages  # type: ignore[assignment, method-assign]


def _backend() -> SNSBackend:
    return sns_backends[ACCOUNT][REGION]


def _set(arn: str, old: dict[str, Any], spec: ResourceSpec) -> None:
    """Set the attributes that the template gives a subscription, and unset those that it gave before."""
    for name in _ATTRIBUTES:
        value = spec.properties.get(name)
        if name == "RawMessageDelivery":  # moto keeps it as it is given, and AWS takes a text
            value = str(value).lower() == "true"
        elif value is not None and not isinstance(value, str):
            value = json.dumps(value)
        if value or name in old:
            _backend().set_subscription_attributes(arn, name, value or "")
