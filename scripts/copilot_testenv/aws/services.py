"""Look up a stack's ECS service, its tasks and its URL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from copilot_testenv.aws.stack import (
    Container,
    ContainerDefinition,
    TargetHealth,
    Task,
    TaskDefinition,
    rule_url,
)
from copilot_testenv.aws.stacks import Stacks
from copilot_testenv.core import display

GONE = ("ClusterNotFoundException", "ServiceNotFoundException")


class Services(Stacks):
    """Query ECS and the load balancer."""

    def service(self, stack: str) -> tuple[str, str] | None:
        """Return the names of the stack's cluster and ECS service; None where it has no service."""
        arn = self.resource(stack, "Service")
        if not arn or "/" not in arn:
            return None
        cluster, name = arn.split("/")[-2:]
        return cluster, name

    def address(self, stack: str) -> str | None:
        """Return the URL of the stack's service, from its load balancer's rules; None where it has no rule.

        Copilot shows it too, but queries every environment, which a role for this one may not do.
        """
        described_stack = self._of_stack("describe_stack_resources", StackName=stack)
        if described_stack is None:
            return None
        rules = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in described_stack["StackResources"]
            if resource["ResourceType"] == "AWS::ElasticLoadBalancingV2::ListenerRule"
            and resource.get("PhysicalResourceId")  # absent while the rule is being created
        }
        # Where there is HTTPS, the rule for HTTP only redirects to it.
        name = min(rules, key=lambda name: (not name.startswith("HTTPS"), name), default=None)
        if name is None:
            return None
        # …:listener-rule/app/NAME/ID/LISTENER/RULE
        arn = rules[name].replace(":listener-rule/", ":loadbalancer/").rsplit("/", 2)[0]
        described = self._find("elbv2", "describe_rules", "RuleNotFound", RuleArns=[rules[name]])
        balancers = self._find(
            "elbv2", "describe_load_balancers", "LoadBalancerNotFound", LoadBalancerArns=[arn]
        )
        if described is None or balancers is None:  # the stack is being changed
            return None
        (rule,), (balancer,) = described["Rules"], balancers["LoadBalancers"]
        if balancer.get("Scheme") == "internal":  # a Backend Service's: only the network reaches it
            return None
        return rule_url("https" if name.startswith("HTTPS") else "http", rule, balancer["DNSName"])

    def balancer_name(self, stack: str) -> str | None:
        """Return the DNS name of the public load balancer of an environment's stack; None without one."""
        arn = self.resource(stack, "PublicLoadBalancer")
        found = (
            self._find("elbv2", "describe_load_balancers", "LoadBalancerNotFound", LoadBalancerArns=[arn])
            if arn
            else None
        )
        return str(found["LoadBalancers"][0]["DNSName"]) if found else None

    def targets(self, stack: str) -> list[TargetHealth]:
        """Return what the load balancer says of the tasks in the stack's target group."""
        group = self.resource(stack, "TargetGroup")
        absent = ("TargetGroupNotFound", "ValidationError")  # while the stack is being deleted
        answer = (
            self._find("elbv2", "describe_target_health", *absent, TargetGroupArn=group) if group else None
        )
        return [_target(each) for each in answer["TargetHealthDescriptions"]] if answer else []

    def service_events(self, cluster: str, service: str, since: datetime) -> list[str]:
        """Return what ECS tells of the service after `since`, oldest first; it keeps a hundred events."""
        answer = self._find("ecs", "describe_services", *GONE, cluster=cluster, services=[service])
        found = [event for each in answer["services"] for event in each["events"]] if answer else []
        return [display.line(event["message"]) for event in found[::-1] if event["createdAt"] > since]

    def tasks(self, cluster: str, service: str) -> list[Task]:
        """Return the service's tasks that run, start or stopped in the last hour; ECS forgets older ones."""
        return self._tasks(cluster, serviceName=service)

    def tasks_of_family(self, cluster: str, family: str) -> list[Task]:
        """Return the same for a family of task definitions: the tasks that `copilot task run` started."""
        return self._tasks(cluster, family=family)

    def _tasks(self, cluster: str, **which: str) -> list[Task]:
        tasks: list[Task] = []
        for status in ("RUNNING", "STOPPED"):
            # One page has up to 100 tasks, as many as describe_tasks takes.
            listed = self._find("ecs", "list_tasks", *GONE, cluster=cluster, desiredStatus=status, **which)
            if listed is None:  # the stack is being deleted
                return []
            if listed["taskArns"]:
                described = self._ask("ecs", "describe_tasks", cluster=cluster, tasks=listed["taskArns"])
                tasks += [_task(task) for task in described["tasks"]]
        return tasks

    def task_definition(self, arn: str) -> TaskDefinition:
        definition = self._ask("ecs", "describe_task_definition", taskDefinition=arn)["taskDefinition"]
        return TaskDefinition(
            str(definition.get("cpu", "")),
            str(definition.get("memory", "")),
            definition.get("taskRoleArn", ""),
            tuple(
                ContainerDefinition(
                    container["name"],
                    container["image"],
                    tuple(container.get("command", ())),
                    {item["name"]: item["value"] for item in container.get("environment", ())},
                    {item["name"]: item["valueFrom"] for item in container.get("secrets", ())},
                    tuple(container.get("entryPoint", ())),
                    container.get("essential", True),
                )
                for container in definition["containerDefinitions"]
            ),
            definition.get("executionRoleArn", ""),
        )


def _target(described: Mapping[str, Any]) -> TargetHealth:
    health = described["TargetHealth"]
    words = (health.get("Description"), health.get("Reason"))
    reason = display.line(next(filter(None, words), ""))
    return TargetHealth(described["Target"].get("Port", 0), health["State"], reason)


def _task(task: Mapping[str, Any]) -> Task:
    return Task(
        task["taskArn"].rsplit("/", 1)[-1],
        task["lastStatus"],
        task.get("healthStatus", "UNKNOWN"),
        task["taskDefinitionArn"],
        task.get("startedAt"),
        display.line(task.get("stoppedReason", "")),
        tuple(
            Container(
                display.line(c["name"]),
                c.get("lastStatus", ""),
                c.get("exitCode"),
                display.line(c.get("reason", "")),
                c.get("healthStatus", "UNKNOWN"),
            )
            for c in task["containers"]
        ),
    )
