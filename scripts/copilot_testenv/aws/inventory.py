"""Look up quotas and what is stored, for `check --account`. Every call only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from copilot_testenv.aws.calls import Calls

# Codes and names in Service Quotas. Source: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
SPOT, ON_DEMAND = "L-36FBB829", "L-3032A538"  # vCPUs that run at once on Fargate
INTERFACES = "L-DF5E4CA3"  # Source: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
_UNKNOWN = ("NoSuchResourceException",)


@dataclass(frozen=True)
class Certificate:
    """A certificate of ACM; `ends` is None while it is not issued."""

    names: tuple[str, ...]
    status: str
    ends: datetime | None


@dataclass(frozen=True)
class Amount:
    """A number of things and their size in bytes."""

    number: int = 0
    size: int = 0


class Inventory(Calls):
    """Query Service Quotas, CloudWatch, Lambda, ACM, Route 53, and sizes in ECR, CloudWatch Logs and S3."""

    def quota(self, service: str, code: str) -> float | None:
        """Return the account's quota; None where AWS knows none of that code."""
        which = {"ServiceCode": service, "QuotaCode": code}
        found = self._find("service-quotas", "get_service_quota", *_UNKNOWN, **which)
        return float(found["Quota"]["Value"]) if found else None

    def vcpus_in_use(self, capacity: str) -> float | None:
        """Return the vCPUs of all Fargate tasks of the account, of `Standard/Spot` or `Standard/OnDemand`.

        None where CloudWatch has no value of the last hour.
        Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/monitoring-fargate-usage.html
        """
        kind = {"Service": "Fargate", "Type": "Resource", "Resource": "vCPU", "Class": capacity}
        answer = self._ask(
            "cloudwatch",
            "get_metric_statistics",
            Namespace="AWS/Usage",
            MetricName="ResourceCount",
            Dimensions=[{"Name": name, "Value": value} for name, value in kind.items()],
            StartTime=datetime.now(UTC) - timedelta(hours=1),
            EndTime=datetime.now(UTC),
            Period=300,
            Statistics=["Maximum"],
        )
        points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
        return float(points[-1]["Maximum"]) if points else None

    def balancer_limits(self) -> dict[str, int]:
        """Return the account's limits of load balancers, by ELB's names for them."""
        answer = self._ask("elbv2", "describe_account_limits")
        return {limit["Name"]: int(limit["Max"]) for limit in answer["Limits"]}

    def rules(self, balancer: str) -> tuple[int, int]:
        """Return the number of a load balancer's rules without the default ones, and of its target groups."""
        listeners = [
            each["ListenerArn"]
            for page in self._pages("elbv2", "describe_listeners", LoadBalancerArn=balancer)
            for each in page["Listeners"]
        ]
        rules = [
            rule
            for listener in listeners
            for page in self._pages("elbv2", "describe_rules", ListenerArn=listener)
            for rule in page["Rules"]
        ]
        groups = {
            action["TargetGroupArn"]
            for rule in rules
            for action in rule["Actions"]
            if "TargetGroupArn" in action
        }
        return sum(not rule["IsDefault"] for rule in rules), len(groups)

    def interfaces(self) -> int:
        """Return the number of network interfaces in this region."""
        pages = self._pages("ec2", "describe_network_interfaces")
        return sum(len(page["NetworkInterfaces"]) for page in pages)

    def function_runtimes(self, prefix: str) -> dict[str, str]:
        """Return the runtimes of the Lambda functions whose names begin with `prefix`, by name."""
        return {
            found["FunctionName"]: found["Runtime"]
            for page in self._pages("lambda", "list_functions")
            for found in page["Functions"]
            if found["FunctionName"].startswith(prefix) and found.get("Runtime")
        }

    def log_groups(self, prefix: str) -> dict[str, int]:
        """Return the bytes stored in each log group whose name begins with `prefix`."""
        return {
            group["logGroupName"]: int(group.get("storedBytes", 0))
            for page in self._pages("logs", "describe_log_groups", logGroupNamePrefix=prefix)
            for group in page["logGroups"]
        }

    def untagged_images(self, repository: str) -> Amount:
        """Return the images of a repository without a tag; their layers may be shared with others."""
        absent = "RepositoryNotFoundException"
        if self._find("ecr", "describe_repositories", absent, repositoryNames=[repository]) is None:
            return Amount()
        pages = self._pages(
            "ecr", "describe_images", repositoryName=repository, filter={"tagStatus": "UNTAGGED"}
        )
        sizes = [int(image.get("imageSizeInBytes", 0)) for page in pages for image in page["imageDetails"]]
        return Amount(len(sizes), sum(sizes))

    def old_versions(self, bucket: str, prefix: str) -> Amount:
        """Return the versions of objects that are no longer the current ones, and their delete markers."""
        found: list[Mapping[str, Any]] = list(self._versions(bucket, prefix))
        return Amount(len(found), sum(int(each.get("Size", 0)) for each in found))

    def _versions(self, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        for page in self._pages("s3", "list_object_versions", Bucket=bucket, Prefix=prefix):
            yield from (each for each in page.get("Versions", ()) if not each["IsLatest"])
            yield from page.get("DeleteMarkers", ())

    def certificate(self, arn: str) -> Certificate | None:
        """Return a certificate of ACM; None where it does not exist."""
        absent = ("ResourceNotFoundException", "InvalidArnException", "ValidationException")
        answer = self._find("acm", "describe_certificate", *absent, CertificateArn=arn)
        if answer is None:
            return None
        found = answer["Certificate"]
        names = {found.get("DomainName", ""), *found.get("SubjectAlternativeNames", ())}
        return Certificate(tuple(sorted(names - {""})), found["Status"], found.get("NotAfter"))

    def zone(self, identity: str) -> str | None:
        """Return the domain of a hosted zone of Route 53, without its last dot; None where it is gone."""
        answer = self._find("route53", "get_hosted_zone", "NoSuchHostedZone", Id=identity)
        return str(answer["HostedZone"]["Name"]).rstrip(".") if answer else None
