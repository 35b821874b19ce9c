"""The task agent: starts and stops the tasks that the control plane wants, and reports their states."""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import logging
import queue
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox.agent import confined, discovery, listeners, port_forwards, runner
from copilot_sandbox.agent.capacity import Capacity
from copilot_sandbox.agent.engine import OWNER_LABEL
from copilot_sandbox.agent.health import HealthChecks
from copilot_sandbox.agent.scheduler import Deployment, OneTask, ServiceScheduler
from copilot_sandbox.agent.service_task import ServiceTask, TaskContext
from copilot_sandbox.agent.targets import Targets

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from copilot_sandbox.agent import wire
    from copilot_sandbox.agent.discovery import Named
    from copilot_sandbox.agent.engine import Engine
    from copilot_sandbox.agent.namespace import Way
    from copilot_sandbox.agent.port_forwards import PortForward
    from copilot_sandbox.model import (
        ControlPlane,
        DeploymentReport,
        Image,
        RolloutState,
        Service,
        TargetReport,
        TaskReport,
    )

logger = logging.getLogger(__name__)

BUSY_TICK, IDLE_TICK = 0.1, 1.0  # seconds between rounds, unless `wake` or an event starts one earlier
STOP_LIMIT = 3.0  # seconds that the containers have to end when the whole sandbox stops
NETWORK = ipaddress.ip_network("10.0.0.0/16")  # the addresses Copilot's environments give to tasks


def stored_only(_variable: str, _name: str, _environment: str, stored: str | None) -> tuple[str | None, str]:
    """Return the stored value of a secret, as ECS does."""
    return stored, ""


def no_aws(_role: str) -> tuple[Mapping[str, str], Path | None]:
    """Return nothing: tasks reach no AWS."""
    return {}, None


class Explanation(NamedTuple):
    """Why a target group has no healthy target; `since` (Unix seconds) is set if waiting may help."""

    text: str
    since: float | None


class Views:
    """The agent's state as other threads read it. It is replaced as a whole and never changed."""

    def __init__(self) -> None:
        self.rollouts: dict[tuple[str, str], tuple[RolloutState, str]] = {}
        self.alive: frozenset[str] = frozenset()  # services that still have a task
        self.tasks: dict[str, ServiceTask] = {}  # by address
        self.explanations: dict[str, Explanation] = {}


class TaskAgent:
    """Emulates ECS: a thread that starts and stops each service's tasks as the control plane wants.

    `find_image` looks up an image that was built and pushed here. `owner_env` marks every process.
    `port_forwards` are servers on Unix sockets (the emulated ElastiCache, for example) that tasks reach under
    loopback addresses other than 127.0.0.1; a task reaches nothing else outside but, by name, the services of
    the same deployment (discovery.py). `readable` are folders of this machine that tasks may read (a server's
    socket, for example); all others are hidden. `way` sets how a task gets its own localhost; without it, a
    probe decides. `engine` runs the containers, and its service has to answer; without it, they run as
    processes. For `supply` and `aws`, see `preparation.Settings`.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        state_dir: Path,
        find_image: Callable[[str], Image | None],
        *,
        owner_env: Mapping[str, str],
        port_forwards: Sequence[PortForward] = (),
        readable: Sequence[Path] = (),
        way: Way | None = None,
        supply: Callable[[str, str, str, str | None], tuple[str | None, str]] = stored_only,
        aws: Callable[[str], tuple[Mapping[str, str], Path | None]] = no_aws,
        engine: Engine | None = None,
    ) -> None:
        self._control_plane = control_plane
        self._directory = state_dir / "tasks"
        self._capacity = Capacity(state_dir / "capacity.json")
        self._inbox: queue.SimpleQueue[tuple[ServiceTask, wire.Event] | None] = queue.SimpleQueue()
        self._schedulers: dict[str, ServiceScheduler[ServiceTask]] = {}
        self._events: dict[str, list[str]] = {}
        self._views = Views()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task agent", daemon=True)
        self._last_tasks: dict[str, TaskReport] = {}
        self._last_services: dict[str, list[DeploymentReport]] = {}
        self._last_targets: dict[str, list[TargetReport]] = {}
        self._last_words: dict[str, str] = {}
        if way is None:
            way, obstacle = runner.probe()
            if obstacle is not None:
                logger.info("no network namespaces here (%s): each task gets a loopback address", obstacle)
        self.way: Way = way
        # Why containers run in the machine's own file system; None if they have one of their own.
        self.unconfined_reason = (
            "each task has a loopback address" if way == "loopback" else confined.obstacle()
        )
        self.targets = Targets(self.wake)
        self._health_checks = HealthChecks(
            self.targets, self.connect, control_plane.target_group, self.listening
        )
        self._context = TaskContext(
            control_plane=control_plane,
            directory=self._directory,
            find_image=find_image,
            owner_env=owner_env,
            way=way,
            port_forwards=port_forwards,
            readable=readable,
            own_filesystem=self.unconfined_reason is None,
            engine=engine,
            targets=self.targets,
            health_checks=self._health_checks,
            post=lambda task, event: self._inbox.put((task, event)),
            supply=supply,
            aws=aws,
            named=self._named,
        )

    def start(self) -> None:
        """Start the agent's thread. First end and remove the tasks that a killed agent left behind."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self._directory.iterdir():
            runner.sweep(leftover.name)
            runner.remove_tree(leftover)
        if self._context.engine is not None:
            self._context.engine.sweep(OWNER_LABEL, str(self._directory.parent))
        self._thread.start()

    def stop(self) -> None:
        """End all tasks. This takes about ten seconds at most, even if a task does not react."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(STOP_LIMIT)
        self._health_checks.stop()
        tasks = list(self._tasks())
        for task in tasks:
            task.halt("The sandbox was stopped.", STOP_LIMIT)
        deadline = time.monotonic() + STOP_LIMIT + 1
        for task in tasks:
            task.join(max(0.1, deadline - time.monotonic()))
        self._listen(0)
        for arn, scheduler in self._schedulers.items():
            self._remember(arn, scheduler.tasks)
        self._publish()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wake(self) -> None:
        self._inbox.put(None)

    def rollout(self, service_arn: str, deployment_id: str) -> tuple[RolloutState, str]:
        rollout = self._views.rollouts.get((service_arn, deployment_id))
        return rollout or ("IN_PROGRESS", f"ECS deployment {deployment_id} in progress.")

    def drained(self, service_arn: str) -> bool:
        return service_arn not in self._views.alive

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Return a connection to a port of the task with that address. Raises OSError."""
        task = self._views.tasks.get(address)
        if task is None:
            raise ConnectionRefusedError(f"no task has the address {address}")
        return task.connect(port, timeout)

    def listening(self, address: str, port: int) -> str:
        """Return where the task with that address listens in place of the port; empty if it is not known."""
        task = self._views.tasks.get(address)
        return task.listening(port) if task else ""

    def explain(self, target_group_arn: str) -> str:
        """Return in a few words why no target of that target group answers."""
        explanation = self._views.explanations.get(target_group_arn)
        if explanation is None:
            return "no task is running"
        if explanation.since is None:
            return explanation.text
        return f"{explanation.text} ({time.time() - explanation.since:.0f} s)"

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._round()
            except Exception:
                logger.exception("a round of the task agent failed; the agent continues")
            busy = any(task.stopping or not task.steady for task in self._tasks())
            self._listen(BUSY_TICK if busy or self.way == "loopback" else IDLE_TICK)

    def _listen(self, timeout: float) -> None:
        """Wait for a wake-up or an event, then handle all that are queued."""
        with contextlib.suppress(queue.Empty):
            item = self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait()
            while True:
                if item is not None:
                    self._handle(*item)
                item = self._inbox.get_nowait()

    @staticmethod
    def _handle(task: ServiceTask, event: wire.Event) -> None:
        try:
            task.handle(event)
        except Exception as error:
            # A task whose event was handled halfway may never become healthy, so a new one replaces it.
            logger.exception("task %s: an event could not be handled", task.id)
            task.stop(f"InternalError: {type(error).__name__}: {error}", ill=True)

    def _round(self) -> None:
        if self.way == "loopback":
            self._close_exposed()
        services = {service.arn: service for service in self._control_plane.services()}
        now = time.time()
        for arn in [*services, *(arn for arn in self._schedulers if arn not in services)]:
            scheduler = self._schedulers.get(arn)
            if scheduler is None:
                once = services[arn].only_task is not None
                scheduler = self._schedulers[arn] = self._make_scheduler(arn, once=once)
            before = list(scheduler.tasks)
            for task in before:
                task.tick(now)
            scheduler.reconcile(services.get(arn), now)
            self._remember(arn, [*before, *scheduler.tasks])
            if not all(task.alive for task in scheduler.tasks):
                self.wake()  # a task failed to start: the next round handles it without delay
        self._publish()
        for arn in [arn for arn, each in self._schedulers.items() if arn not in services and not each.tasks]:
            del self._schedulers[arn]
            self._last_services.pop(arn, None)
            self._last_words.pop(arn, None)

    def _close_exposed(self) -> None:
        """Stop the tasks whose servers other machines can reach."""
        tasks = {task.id: task for task in self._tasks() if task.pid is not None and not task.exposed}
        exposed = listeners.exposed({task.id: task.pid for task in tasks.values() if task.pid is not None})
        for name, listener in exposed.items():
            logger.warning("task %s is stopped: %s", name, listeners.advice(listener))
            tasks[name].stop_exposed(f"Task stopped: {listeners.advice(listener)}")

    def _make_scheduler(self, arn: str, *, once: bool) -> ServiceScheduler[ServiceTask]:
        def start(deployment: Deployment) -> ServiceTask:
            task = ServiceTask(self._context, deployment.service, deployment.id, self._free_address())
            # The task is visible before it runs, because its first health check follows at once.
            self._views.tasks = {**self._views.tasks, task.report.address: task}
            if reason := self._capacity.lacks_addresses(sum(each.alive for each in self._tasks())):
                task.fail(reason)
            else:
                task.launch()
            return task

        def stop(task: ServiceTask, reason: str, ill: bool) -> None:  # noqa: FBT001 -- the scheduler's signature
            task.stop(reason, ill=ill)

        kind = OneTask[ServiceTask] if once else ServiceScheduler[ServiceTask]
        return kind(start, stop, self._events.setdefault(arn, []).append, self._lacks)

    def _named(self, service: Service) -> list[Named]:
        """Return the services that a new task of the service reaches by name."""
        found = discovery.named(service, self._control_plane.services())
        for _, port, path in (forward for each in found for forward in each.forwards):
            arn = path.rpartition("#")[0]
            port_forwards.dial(path, discovery.dialer(self._visible, arn, port))
        return found

    def _visible(self) -> list[ServiceTask]:
        return list(self._views.tasks.values())

    def _lacks(self, service: Service) -> str:
        return self._capacity.lacks(service, [task.service for task in self._tasks() if task.alive])

    def _free_address(self) -> str:
        taken = {task.report.address for task in self._tasks()} | set(self._views.tasks)
        draw = random.SystemRandom()
        while True:
            address = str(NETWORK[draw.randrange(256, NETWORK.num_addresses - 1)])
            if address not in taken:
                return address

    def _tasks(self) -> Iterator[ServiceTask]:
        for scheduler in self._schedulers.values():
            yield from scheduler.tasks

    def _remember(self, arn: str, tasks: list[ServiceTask]) -> None:
        """Report each new or changed task, and keep the stopped reason of the last one."""
        for task in tasks:
            if not task.alive and not task.dismissed and task.report.stopped_reason:
                self._last_words[arn] = task.report.stopped_reason
            if self._last_tasks.get(task.id) != task.report:
                self._last_tasks[task.id] = copy.deepcopy(task.report)
                self._report(self._control_plane.report_task, copy.deepcopy(task.report))
            if not task.alive:
                self._last_tasks.pop(task.id)

    def _publish(self) -> None:
        """Report changed services and targets, then make the same state visible to other threads."""
        for arn, scheduler in self._schedulers.items():
            reports = scheduler.reports()
            events = self._events.get(arn, [])
            if reports != self._last_services.get(arn) or events:
                self._last_services[arn] = copy.deepcopy(reports)
                for event in events or (None,):
                    self._report(self._control_plane.report_service, arn, reports, event)
                events.clear()
        targets = self.targets.reports()
        for group in targets.keys() | self._last_targets.keys():
            now = targets.get(group, [])
            if now != self._last_targets.get(group, []):
                self._report(self._control_plane.report_targets, group, now)
        self._last_targets = targets
        self._replace_views()

    def _replace_views(self) -> None:
        views = Views()
        for arn, scheduler in self._schedulers.items():
            for deployment in scheduler.deployments:
                views.rollouts[arn, deployment.id] = (deployment.rollout, deployment.reason)
            for task in scheduler.tasks:
                views.tasks[task.report.address] = task
            for deployment in scheduler.deployments[:1]:
                for balancing in deployment.service.load_balancing:
                    desired = deployment.service.desired_count
                    explanation = self._explanation(arn, scheduler.tasks, desired)
                    views.explanations[balancing.target_group_arn] = explanation
        views.alive = frozenset(arn for arn, scheduler in self._schedulers.items() if scheduler.tasks)
        self._views = views

    def _explanation(self, arn: str, tasks: list[ServiceTask], desired: int) -> Explanation:
        wanted = [task for task in tasks if task.alive and not task.stopping]
        last = self._last_words.get(arn)
        after = f"; the last task stopped: {last}" if last else ""
        if wanted:
            text, since = wanted[-1].activity()
            return Explanation(text + after, since)
        if any(task.alive for task in tasks):
            return Explanation(f"the task is being stopped{after}", None)
        if not desired:
            return Explanation("no task is running, for the desired count is 0: the service sleeps", None)
        return Explanation(f"no task is running{after}", None)

    def _report(self, report: Callable[..., None], *news: object) -> None:
        try:
            report(*news)
        except Exception:
            # A report that fails must not stop the tasks.
            logger.exception("the control plane could not store a report: %s", report.__name__)
