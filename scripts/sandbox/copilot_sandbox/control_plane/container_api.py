"""ECS's API: moto's, with services and tasks of the task agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

from .container_service import ContainerService
from .ecs_common import EcsError, backend, cluster_name, services_only
from .paging import InvalidToken, page
from .resources import ACCOUNT, REGION
from .service_records import ServiceRecord

# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html, API_ListServices.html
_PAGE = 100
_PAGE_OF_SERVICES = 10  # unless the request sets a number
# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
_MOST_SERVICES = 10


class Responses(EC2ContainerServiceResponse):
    """ECS's API: moto's, with services and tasks of the task agent."""

    ecs: ContainerService  # set by bound_to
    changed: Callable[[], None]

    @classmethod
    def bound_to(cls, ecs: ContainerService, changed: Callable[[], None]) -> type[Responses]:
        """Return a subclass that serves `ecs`: moto creates an object for each request."""
        return type("BoundResponses", (cls,), {"ecs": ecs, "changed": staticmethod(changed)})

    def _cluster(self) -> str:
        """Return the cluster of the request. Raises EcsError if it does not exist."""
        cluster = str(self._get_param("cluster", "default"))
        if cluster_name(cluster) not in backend().clusters:
            raise EcsError("ClusterNotFoundException", "Cluster not found.")
        return cluster

    def _missing(self, kind: str, name: str) -> dict[str, str]:
        """Return the failure of something that a description asks for and that does not exist.

        Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
        """
        whole = f"arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{cluster_name(self._cluster())}/{name}"
        return {"arn": name if name.startswith("arn:") else whole, "reason": "MISSING"}

    def _service(self) -> ServiceRecord:
        record = self.ecs.find(self._cluster(), self._get_param("service"))
        if record is None or record.status == "INACTIVE":
            raise EcsError("ServiceNotFoundException", "Service not found.")
        return record

    def list_services(self) -> ActionResult:
        cluster = cluster_name(self._cluster())
        arns = [r.arn for r in self.ecs.active() if cluster_name(r.cluster_arn) == cluster]
        return self._page("serviceArns", arns, _PAGE_OF_SERVICES)

    def _page(self, key: str, arns: list[str], limit: int) -> ActionResult:
        limit = int(self._get_param("maxResults") or limit)
        if not 1 <= limit <= _PAGE:
            raise EcsError("InvalidParameterException", f"maxResults must be between 1 and {_PAGE}.")
        try:
            shown, token = page(arns, str, limit=limit, token=self._get_param("nextToken"))
        except InvalidToken as error:
            raise EcsError("InvalidParameterException", f"Invalid token: {error}") from error
        return ActionResult({key: shown, "nextToken": token})

    def list_services_by_namespace(self) -> ActionResult:
        return ActionResult({"serviceArns": []})

    def describe_services(self) -> ActionResult:
        with_tags = "TAGS" in (self._get_param("include") or [])
        services, failures = [], []
        names = self._get_param("services") or []
        if len(names) > _MOST_SERVICES:
            raise EcsError(
                "InvalidParameterException", f"Services cannot have more than {_MOST_SERVICES} items."
            )
        self._cluster()
        for name in names:
            record = self.ecs.find(self._cluster(), name)
            if record is None:
                failures.append(self._missing("service", name))
            else:
                services.append(record.describe(with_tags=with_tags))
        return ActionResult({"services": services, "failures": failures})

    def update_service(self) -> ActionResult:
        record = self._service()
        changes = {
            key: value
            for key, value in dict(self._get_params()).items()
            if key not in ("cluster", "service", "forceNewDeployment") and value is not None
        }
        force = bool(self._get_param("forceNewDeployment", if_none=False))
        self.ecs.change(record, changes, force=force)
        self.changed()
        return ActionResult({"service": record.describe(with_tags=True)})

    def delete_service(self) -> ActionResult:
        record = self._service()
        if int(record.wanted.get("desiredCount", 1)) and not self._get_param("force", if_none=False):
            raise EcsError(
                "InvalidParameterException", "The service cannot be stopped while it is scaled above 0."
            )
        self.ecs.delete(record)
        self.ecs.forget(record)
        self.changed()
        return ActionResult({"service": record.describe(with_tags=True)})

    def list_tasks(self) -> ActionResult:
        arns = self.ecs.tasks(
            self._cluster(),
            self._get_param("serviceName"),
            self._get_param("family"),
            self._get_param("desiredStatus") or "RUNNING",
            self._get_param("startedBy"),
        )
        return self._page("taskArns", arns, _PAGE)

    def describe_tasks(self) -> ActionResult:
        self._cluster()
        requested: Iterable[str] = self._get_param("tasks") or []
        described = {name: self.ecs.describe_task(name) for name in requested}
        return ActionResult(
            {
                "tasks": [task for task in described.values() if task],
                "failures": [self._missing("task", name) for name, task in described.items() if not task],
            }
        )

    def create_service(self) -> ActionResult:
        raise services_only("CreateService")

    def run_task(self) -> ActionResult:
        ids = self.ecs.run({key: value for key, value in dict(self._get_params()).items() if value})
        self.changed()
        return ActionResult({"tasks": [self.ecs.describe_task(each) for each in ids], "failures": []})

    def start_task(self) -> ActionResult:
        raise services_only("StartTask")

    def stop_task(self) -> ActionResult:
        identity = str(self._get_param("task")).rsplit("/", 1)[-1]
        self.ecs.stop(identity)
        self.changed()
        return ActionResult({"task": self.ecs.describe_task(identity)})

    def execute_command(self) -> ActionResult:
        raise services_only("ExecuteCommand")
