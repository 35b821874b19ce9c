"""The control plane as a whole: starts and stops it, and answers the agent and the load balancer."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from moto.core.base_backend import BackendDict
from moto.core.exceptions import ServiceException
from moto.core.resource_tagging import TaggedResource
from moto.logs.models import logs_backends
from moto.s3.models import s3_backends
from moto.ssm.models import ssm_backends

from copilot_sandbox import model
from copilot_sandbox.certificates import CertificateAuthority

from . import (
    cloudformation,
    container_api,
    data_stores,
    functions,
    load_balancing,
    repositories,
    scheduled_scaling,
    tagging,
)
from .applications import Applications, ensure_bucket
from .catalogue import Catalogue
from .container_resources import ClusterHandler, ServiceHandler, TaskDefinitionHandler
from .container_service import ContainerService
from .custom_resources import CustomResources
from .domains import (
    AliasRecordsHandler,
    CertificateHandler,
    HostedZoneHandler,
    RecordsHandler,
    import_certificate,
)
from .engine import Engine
from .for_tests import ForTests
from .functions import FunctionHandler
from .load_balancing import (
    ListenerHandler,
    ListenerRuleHandler,
    LoadBalancerHandler,
    LoadBalancing,
    TargetGroupHandler,
)
from .messages import let_others_call
from .nested_stacks import NestedStacks
from .proxy import ProxyServer, Router
from .resources import ACCOUNT, REGION
from .signatures import Signatures, random_key
from .stack_sets import StackSets
from .stores import secret_value

log = logging.getLogger(__name__)

AUTHORITY = "ca.pem"  # the name of the authority's certificate in the state's folder
_STOP_SECONDS = 5.0  # for a thread to end
_SCHEDULE_SECONDS = 0.5  # between two looks at what is scheduled


class ControlPlaneServer:
    """The embedded AWS on 127.0.0.1. It implements `model.ControlPlane`.

    A process can have only one: moto keeps its state in module globals, which `start` deletes. `agent` may be
    set until `start`.
    """

    def __init__(
        self,
        port: int,
        state_dir: Path,
        agent: model.Agent | None,
        port_for: Callable[[str], int],
        servers: model.DataServers | None = None,
        *,
        accept_runtime: Callable[[str], None] | None = None,
        missing_export: Callable[[str], str] | None = None,
    ) -> None:
        """Set up the parts. `port` 0 means any free port; `port_for` returns an environment's balancer port.

        Without `servers`, the addresses of databases and caches have no server. With `accept_runtime`, Lambda
        functions that AWS would refuse are created, and it is called with their runtimes. With
        `missing_export`, it returns the value of an export that no stack has.
        """
        self.agent = agent
        self._lock = threading.RLock()
        self._port = port
        self._folder = state_dir
        self._port_for = port_for
        self._changed = threading.Event()
        self._server: ProxyServer | None = None
        self._thread: threading.Thread | None = None
        self._ecs = ContainerService()
        self._balancing = LoadBalancing()
        self._applications = Applications()
        self._for_tests = ForTests(
            state_dir, lambda: tagging.all_tagged(self._tagged_resources()), self._applications
        )
        self._scaling = scheduled_scaling.ScheduledScaling(self._ecs, self._for_tests.now)
        self._stopped = threading.Event()
        self._catalogue = Catalogue()
        self._engine = Engine(
            self._lock, self._wake, self._for_tests, self._catalogue, missing_export=missing_export
        )
        self._stack_sets = StackSets(self._engine)
        self._fill_catalogue(servers, accept_runtime)
        self._authority: CertificateAuthority | None = None
        self._key = random_key()

    @property
    def port(self) -> int:
        """Return the port it listens on. Raises RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the control plane has not been started")
        return int(self._server.server_address[1])

    @property
    def ca(self) -> Path:
        """Return the path of the authority's certificate (PEM), which clients must trust."""
        return self._folder / AUTHORITY

    def environment(self) -> dict[str, str]:
        """Return the variables that point Copilot or boto3 here. They are only for a child process."""
        proxy = f"http://127.0.0.1:{self.port}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "AWS_CA_BUNDLE": str(self.ca),
            "AWS_ACCESS_KEY_ID": self._key.id,
            "AWS_SECRET_ACCESS_KEY": self._key.secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Delete moto's state and listen, with a new key. Raises OSError if the port is taken."""
        self._key = random_key()
        BackendDict.reset()
        let_others_call(self._lock)
        self._applications.begin()
        self._for_tests.begin(self._key.id)
        self._authority = CertificateAuthority(self._folder)
        router = Router(
            {
                "applicationautoscaling": scheduled_scaling.Responses.bound_to(self._scaling).dispatch,
                "cloudformation": cloudformation.Responses.bound_to(self._engine, self._stack_sets).dispatch,
                "ecs": container_api.Responses.bound_to(self._ecs, self._changed.set).dispatch,
                # moto looks up both generations of the service under the older name.
                "elb": load_balancing.Responses.bound_to(self._balancing).dispatch,
                "awslambda": functions.Responses.dispatch,
                "ecr": repositories.Responses.dispatch,
                "resourcegroupstaggingapi": tagging.Responses.bound_to(self._tagged_resources).dispatch,
            }
        )
        self._server = ProxyServer(
            self._port,
            router,
            self._authority,
            self._lock,
            self._for_tests,
            self._wake_if_changed,
            Signatures(self._key, users=[self._applications.user]),
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="control plane", daemon=True
        )
        self._thread.start()
        threading.Thread(target=self._carry_out_schedules, name="schedules", daemon=True).start()

    def _carry_out_schedules(self) -> None:
        while not self._stopped.wait(_SCHEDULE_SECONDS):
            with self._lock:
                changed = self._scaling.carry_out()
            if changed:
                self._wake()

    def context_of_databases(self) -> ssl.SSLContext:
        """Return the TLS settings of the emulated RDS. Call it after `start`."""
        assert self._authority is not None  # noqa: S101 - `start` has created it
        return self._authority.context_of_databases()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Close all connections and end the threads. Stacks with a running operation keep their state."""
        self._stopped.set()
        if self._server is not None and self._thread is not None:
            self._server.close()
            self._thread.join(_STOP_SECONDS)
            self._server = self._thread = None
        self._engine.stop()

    def _fill_catalogue(
        self, servers: model.DataServers | None, accept_runtime: Callable[[str], None] | None
    ) -> None:
        self._catalogue.add(
            {
                **data_stores.handlers(servers, self._engine.stacks.resource),
                "AWS::CloudFormation::Stack": NestedStacks(self._engine),
                "AWS::ECS::Cluster": ClusterHandler(),
                "AWS::ECS::TaskDefinition": TaskDefinitionHandler(),
                "AWS::ECS::Service": ServiceHandler(self._ecs, self._agent),
                "AWS::ElasticLoadBalancingV2::LoadBalancer": LoadBalancerHandler(
                    self._balancing, self._port_for
                ),
                "AWS::ElasticLoadBalancingV2::TargetGroup": TargetGroupHandler(self._balancing),
                "AWS::ElasticLoadBalancingV2::Listener": ListenerHandler(),
                "AWS::ElasticLoadBalancingV2::ListenerRule": ListenerRuleHandler(),
                "AWS::Lambda::Function": FunctionHandler(accept_runtime),
                "AWS::Route53::HostedZone": HostedZoneHandler(),
                "AWS::Route53::RecordSet": RecordsHandler(),
                "AWS::Route53::RecordSetGroup": RecordsHandler(),
                "Custom::CertificateValidationFunction": CertificateHandler(),
                "Custom::CustomDomainFunction": AliasRecordsHandler(),
            },
            CustomResources(self._engine, self._for_tests.seconds),
        )

    def _tagged_resources(self) -> Iterator[TaggedResource]:
        for stack in self._engine.stacks.live():
            yield TaggedResource(stack.id, stack.tags, "cloudformation:stack")
            for each in stack.resources.values():
                if each.spec.type == "AWS::Lambda::Function" and "Arn" in each.created.attributes:
                    arn = str(each.created.attributes["Arn"])
                    yield TaggedResource(arn, each.spec.tags(), "lambda:function")
        for service in self._ecs.active():
            yield TaggedResource(service.arn, service.tags, "ecs:service")
        yield from self._scaling.tagged()

    def _agent(self) -> model.Agent:
        if self.agent is None:
            raise RuntimeError("the control plane has no task agent")
        return self.agent

    def _wake(self) -> None:
        if self.agent is not None:
            self.agent.wake()

    def _wake_if_changed(self) -> None:
        # This runs after the request, when the lock is free: the agent asks for its services at once.
        if self._changed.is_set():
            self._changed.clear()
            self._wake()

    def has_image(self, reference: str) -> bool:
        """Return True if ECR has the image that a task definition names."""
        with self._lock:
            return repositories.has_image(reference)

    def user_variables(self) -> dict[str, str]:
        """Return the variables of a program with the key of the user `application`."""
        with self._lock:
            return self._applications.user_variables()

    def task_variables(self, role: str) -> dict[str, str]:
        """Return the variables of a program with a key of a task role."""
        with self._lock:
            return self._applications.task_variables(role)

    def ensure_bucket(self, name: str) -> None:
        """Create a bucket that a project expects to exist, if it is missing."""
        with self._lock, suppress(ServiceException):
            ensure_bucket(name)

    def import_certificates(self, certificates: Mapping[str, Sequence[str]]) -> None:
        """Put stand-ins in the place of certificates of other accounts, each with its host names."""
        with self._lock:
            for arn, names in certificates.items():
                import_certificate(arn, names)

    # model.ControlPlane

    def services(self) -> list[model.Service]:
        with self._lock:
            return self._ecs.services()

    def load_balancers(self) -> list[model.LoadBalancer]:
        with self._lock:
            return self._balancing.load_balancers()

    def target_group(self, arn: str) -> model.TargetGroup | None:
        with self._lock:
            return self._balancing.target_group(arn)

    def secret(self, name: str) -> str:
        with self._lock:
            if name.startswith("arn:aws:secretsmanager:"):
                # Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
                parts = [*name.split(":"), ""]
                return secret_value(":".join(parts[:7]), parts[7])
            path = name.split(":parameter", 1)[1] if name.startswith("arn:") else name
            parameter = ssm_backends[ACCOUNT][REGION].get_parameter(path)
            if parameter is None:
                raise KeyError(name)
            return str(parameter.response_object(decrypt=True, region=REGION)["Value"])

    def environment_file(self, arn: str) -> str:
        """Return the text of an object in S3, by its ARN. Raises KeyError if it does not exist."""
        bucket, _, key = arn.rpartition(":::")[2].partition("/")
        with self._lock:
            try:
                found = s3_backends[ACCOUNT]["aws"].get_object(bucket, key)
            except ServiceException:
                found = None
            if found is None:
                raise KeyError(arn)
            return str(found.value.decode(errors="replace"))

    def log(self, group: str, stream: str, events: Iterable[tuple[int, str]]) -> None:
        with self._lock:
            logs = logs_backends[ACCOUNT][REGION]
            if group not in logs.groups:
                return
            if stream not in logs.groups[group].streams:
                logs.create_log_stream(group, stream)
            lines = [{"timestamp": when, "message": line} for when, line in events]
            if lines:
                logs.groups[group].streams[stream].put_log_events(lines)

    def report_task(self, report: model.TaskReport) -> None:
        with self._lock:
            self._ecs.report_task(report)

    def report_service(
        self, arn: str, deployments: list[model.DeploymentReport], event: str | None = None
    ) -> None:
        with self._lock:
            self._ecs.report_service(arn, deployments, event)

    def report_targets(self, target_group_arn: str, targets: list[model.TargetReport]) -> None:
        with self._lock:
            self._balancing.targets[target_group_arn] = list(targets)
