"""A branch goes live: `copilot deploy` of its commit, watched until that very commit is served."""

from __future__ import annotations

import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scripts import application, branch, copilot, environment, expiry, images, isolation, manifest, shelf
from scripts.command import Result, Stop, catching_signals, output_of
from scripts.errors import Failed, Held, Interrupted, Refused, UserError
from scripts.ledger import Entry
from scripts.report import as_json
from scripts.stack import tag_text, tag_value

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.branch import Branch
    from scripts.copilot import Copilot
    from scripts.environment import Bench, Place
    from scripts.lease import Lease
    from scripts.ledger import Ledger
    from scripts.stack import Aws, Event, Stack, Task

LAST_LINES = 30
LONG_AGO = datetime.min.replace(tzinfo=UTC)
# What a terminal is told with escapes: colours, and lines drawn anew.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
REACH_SECONDS = 60  # after which an address that does not answer from here is taken for closed to us


@dataclass(frozen=True)
class Asked:
    """What the flags of `deploy-test` say."""

    isolated: bool = False  # a service, a database and a Redis of the branch's own
    force: bool = False  # start new tasks whatever has changed
    wait: bool = False  # for a slot that another run is changing
    take_over: bool = False  # replace what somebody else has live there
    why: str = ""  # for those who might want the slot
    plan: bool = False
    json: bool = False


def deploy(bench: Bench, name: str, asked: Asked) -> None:
    """Deploy a branch to the shared slot, or to one of its own, and wait until its commit is served.

    Raises the errors of scripts.errors; nothing was started when it is a SettingsError or Refused.
    """
    branch.check_name(name)
    if asked.isolated:
        bench = replace(bench, settings=bench.settings.isolated_for(branch.slug(name)))
    environment.announce(bench)
    environment.check_workspace(bench)
    expires = expiry.expiry(bench.settings.ttl, datetime.now(UTC))
    wanted = branch.find(bench.shell, bench.settings.root, name)
    if wanted.note:
        bench.report.say(wanted.note)
    place = environment.enter(bench, start=not asked.plan)
    if place is None:
        bench.report.say(f"Would start the sandbox, then deploy {name} at {wanted.commit[:12]} to it.")
        if asked.json:
            bench.report.data(as_json(asdict(_planned(bench, wanted, expires))))
        return
    _Deploy(bench, place, wanted, expires, asked).run()


def _planned(bench: Bench, wanted: Branch, expires: datetime) -> environment.Deployment:
    settings = bench.settings
    return environment.Deployment(
        branch=wanted.name,
        commit=wanted.commit,
        slug=wanted.slug,
        environment=settings.test_env,
        service=settings.service,
        url=None,
        database=None,
        deployed_by=None,
        deployed_at=None,
        expires_at=environment.iso(expires),
        data_copied_at=None,
        isolated=bool(settings.slug),
        target=settings.target,
    )


@dataclass
class _Deploy:
    bench: Bench
    place: Place
    branch: Branch
    expires: datetime
    asked: Asked

    def run(self) -> None:
        report, started = self.bench.report, time.monotonic()
        before = self.place.aws.stack(self.bench.settings.stack_name)
        served = None
        if not self.asked.force and not self.asked.plan and not (before and before.changing):
            served = self._served_already(before)
        if served:
            self._tell_unchanged(served)
        elif self.asked.plan:
            environment.require_settled(before)
            environment.preflight(self.bench, self.place, builds=True)
            _require_usable(before)
            self._plan(before)
        else:
            environment.preflight(self.bench, self.place, builds=True)
            served = self._alone()
        if served is None:
            if self.asked.json:
                report.data(as_json(asdict(_planned(self.bench, self.branch, self.expires))))
        else:
            report.say(
                f"{self.branch.name} at {self.branch.commit[:12]} is served "
                f"({time.monotonic() - started:.1f} s), until {served.expires_at or 'it is torn down'}:"
            )
            report.data(as_json(asdict(served)) if self.asked.json else served.url or "")

    def _alone(self) -> environment.Deployment:
        """Deploy while nobody else changes the slot."""
        lease = shelf.lease(self.bench, self.place, f"deploying {self.branch.name}")
        with lease.held(wait=self.asked.wait, say=self.bench.report.say):
            # A run that was killed leaves Copilot's change under way.
            before = environment.settled(self.bench, self.place, wait=self.asked.wait)
            _require_usable(before)
            self._require_mine(before, lease.who)
            served = self._deploy(before, self._tags(before, lease.who), lease)
            self._record(shelf.ledger(self.bench, self.place), served)
            return served

    def _record(self, ledger: Ledger, served: environment.Deployment) -> None:
        """Let `status` know. What is served is served: that this failed is only said."""
        try:
            ledger.record(served.service, shelf.entry(served))
        except UserError as error:
            self.bench.report.say(
                f"(The ledger of deployments was not written, so `status` knows less: {error})"
            )

    def _plan(self, before: Stack | None) -> None:
        tags = self._tags(before, environment.who(self.bench))
        with branch.worktree(self.bench.shell, self.bench.settings.root, self.branch) as folder:
            here = self._prepared(folder)
            if self.bench.settings.slug and self._is_new(here, before):
                self.bench.report.say(f"Would add a service: {here.service_init(isolation.TYPE)}")
            command = here.deploy(self._image_tag(), tags)
        self.bench.report.say(f"Would deploy {self.branch.name} at {self.branch.commit[:12]}: {command}")

    def _prepared(self, folder: Path) -> Copilot:
        """Copilot in the branch's worktree, with the manifest that is to be deployed."""
        settings = self.bench.settings
        self._check_block(manifest.read(folder / self._manifest_path))
        if settings.slug:
            isolation.generate(folder, settings, isolation.host(settings, self._domain()))
        return copilot.Copilot(settings, self.place.variables, folder)

    def _domain(self) -> str:
        settings = self.bench.settings
        if settings.target == "sandbox" or settings.test_domain:
            return ""
        shown = self.place.copilot.application_show()
        return copilot.domain(
            output_of(self.bench.shell, shown, "Asking Copilot for the application's domain")
        )

    def _is_new(self, here: Copilot, before: Stack | None) -> bool:
        """Whether the application is still to be told of the branch's own service.

        Raises Refused where it has a service of that name which is not these tasks' own.
        """
        settings = self.bench.settings
        listed = output_of(self.bench.shell, here.services(), "Asking Copilot for the services")
        if settings.service not in copilot.services(listed):
            return True
        entry = shelf.ledger(self.bench, self.place).read().deployments.get(settings.service)
        if not (entry and entry.isolated) and not (before and before.tags.get("isolated")):
            raise Refused(
                f"The application {settings.app} has a service {settings.service} that these tasks have not "
                f"made: {self.branch.name} cannot have that name. Rename the branch, or deploy it to the "
                "shared slot."
            )
        return False

    def _add_service(self, here: Copilot) -> None:
        """Make the branch's own service known to the application, one at a time."""
        settings = self.bench.settings
        shelf.ledger(self.bench, self.place).record(settings.service, Entry(self.branch.name, isolated=True))
        lease = shelf.application_lease(self.bench, self.place, f"adding {settings.service}")
        with lease.held(wait=True, say=self.bench.report.say):
            application.require_room(settings, self.place.aws)
            command = here.service_init(isolation.TYPE)
            output_of(self.bench.shell, command, f"Adding {settings.service} to the application")

    def _deploy(self, before: Stack | None, tags: Mapping[str, str], lease: Lease) -> environment.Deployment:
        """Deploy and wait until it is served."""
        bench, settings = self.bench, self.bench.settings
        with branch.worktree(bench.shell, settings.root, self.branch, tags["deployed_at"]) as folder:
            here = self._prepared(folder)
            if settings.slug and self._is_new(here, before):
                self._add_service(here)
            command = here.deploy(self._image_tag(), tags)
            old = self.place.aws.resource(settings.stack_name, "TaskDefinition") if before else None
            with catching_signals(settings.timeout, bench.report.say) as stop:
                watcher = Watcher(bench, self.place.aws, tags)
                doing = f"Deploying {self.branch.name} at {self.branch.commit[:12]} to {settings.test_env}"
                with bench.report.waiting(doing), watcher:
                    result = bench.shell.stream(
                        command, watcher.keep, lambda: self._signal_due(watcher, stop, lease)
                    )
                    self._require_deployed(result, watcher, stop)
                    served = self._wait_until_served(stop)
        if old and old == self.place.aws.resource(settings.stack_name, "TaskDefinition"):
            self._tell_unchanged(served)
        return served

    def _signal_due(self, watcher: Watcher, stop: Stop, lease: Lease) -> signal.Signals | None:
        if lease.lost and not stop.interrupted:
            self.bench.report.say(
                "This machine was not heard of for too long, and somebody else may change the slot now."
            )
            stop.interrupted = True
        if stop.timed_out and not watcher.remembered:
            watcher.remember_unfinished()
        return watcher.signal_due() or stop.signal_due()

    def _served_already(self, before: Stack | None) -> environment.Deployment | None:
        """The deployment, where it is this very one already: same commit, same end, and healthy."""
        if not before or not before.live:
            return None
        wanted = {
            "branch": self.branch.name,
            "commit": self.branch.commit,
            "expires_at": self._end(before),
        }
        if wanted.items() - before.tags.items():
            return None
        tasks = environment.running(self.place, before)
        if not tasks:
            return None
        deployment = environment.describe(self.bench, self.place, before, tasks)
        return deployment if deployment.url and not _wrong_with(deployment.url) else None

    def _tell_unchanged(self, served: environment.Deployment) -> None:
        settings = self.bench.settings
        self.bench.report.say(
            f"Unchanged: {settings.service} in {settings.test_env} runs this commit already, so no task was "
            f"started, and its data is still of {served.data_copied_at}. For fresh data: `invoke copy-db`; "
            "for new tasks: --force."
        )

    @property
    def _manifest_path(self) -> str:
        return str(self.bench.settings.manifest.relative_to(self.bench.settings.root))

    def _check_block(self, found: Mapping[str, object]) -> None:
        """The branch's own manifest is the one that is deployed: it must have the block too."""
        manifest.check_environment(
            found, self.bench.settings.test_env, f"{self._manifest_path} of {self.branch.name}"
        )

    def _image_tag(self) -> str:
        """A new tag each time where new tasks are to be started whatever has changed."""
        more = f"-{datetime.now(UTC):%Y%m%d%H%M%S}" if self.asked.force else ""
        return images.tag(self.bench.settings.test_env, self.branch.commit, more)

    def _tags(self, before: Stack | None, by: str) -> Mapping[str, str]:
        """What the stack remembers. What runs already stays deployed by whom and when it was.

        So an unchanged redeploy changes nothing, unless its expiry moves.
        """
        facts = {
            "branch": self.branch.name,
            "commit": self.branch.commit,
            "deployed_by": by,
            "deployed_at": environment.iso(datetime.now(UTC)),
        }
        runs = before.tags if before and before.live and not self.asked.force else {}
        if all(runs.get(name) == facts[name] for name in ("branch", "commit")):
            facts |= {name: runs.get(name, facts[name]) for name in ("deployed_by", "deployed_at")}
        facts["expires_at"] = self._end(before)
        if why := self.asked.why or runs.get("why"):
            facts["why"] = why
        if self.bench.settings.slug:
            facts["isolated"] = "yes"
        return {name: tag_value(value) for name, value in facts.items()}

    def _end(self, before: Stack | None) -> str:
        """The tag: a redeploy renews, and never shortens what `extend` has granted."""
        tags = before.tags if before and before.live else {}
        had = tags.get("expires_at") if tags.get("branch") == self.branch.name else None
        end = expiry.later(had, self.expires)
        return environment.iso(end) if end else expiry.KEPT

    def _require_mine(self, stack: Stack | None, by: str) -> None:
        """Raises Held where another branch of somebody else is live there."""
        if not stack or not stack.live:
            return
        tags = stack.tags
        other, theirs = tags.get("deployed_by"), tags.get("branch")
        if other in {None, by} or theirs == self.branch.name:
            return
        reason = f" ({tags['why']})" if tags.get("why") else ""
        found = f"{other} has {theirs}{reason} live in {self.bench.settings.test_env}"
        if not self.asked.take_over:
            raise Held(
                f"{found} until {tags.get('expires_at')}: nothing was changed. "
                "Ask them, or say --take-over to replace it."
            )
        self.bench.report.say(f"Taking over: {found}, and is displaced.")

    def _require_deployed(self, result: Result, watcher: Watcher, stop: Stop) -> None:
        """Judge by CloudFormation, not by the exit code: Copilot ends an interrupted deploy with 0."""
        settings = self.bench.settings
        if stop.asked():
            settled = self._settle()
            live = settled is not None and settled.status in COMPLETE and watcher.carried_by(settled)
            became = "had gone through already and is live" if live else "has been rolled back"
            if stop.interrupted:
                raise Interrupted(f"Interrupted; the deploy of {self.branch.name} {became}.")
            raise Failed(
                f"The deploy took longer than DEPLOY_TIMEOUT ({settings.timeout:.0f} s) and {became}."
                f"{watcher.why()}"
            )
        stack = self.place.aws.stack(settings.stack_name)
        if not result.ok and (
            (stack and stack.changing) or any("currently being updated" in line for line in watcher.lines)
        ):
            environment.require_settled(stack)
            raise Held("Another deploy or teardown came first. `invoke status` shows what is live.")
        complete = stack and stack.status in COMPLETE
        ended = result.ok or result.returncode == -signal.SIGTERM  # Watcher.signal_due
        if not ended or not complete or not stack or not watcher.carried_by(stack):
            status = stack.status if stack else "gone"
            raise Failed(
                f"{self.branch.name} at {self.branch.commit[:12]} was not deployed; the stack "
                f"{settings.stack_name} is {status}.{watcher.why(result)}"
            )

    def _settle(self) -> Stack | None:
        """Wait until CloudFormation has stopped changing the stack, for ten minutes at most."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            stack = self.place.aws.stack(self.bench.settings.stack_name)
            if not stack or not stack.changing:
                return stack
            time.sleep(0.5 if self.bench.settings.target == "sandbox" else 5)
        raise Failed(
            f"The stack {self.bench.settings.stack_name} is still changing ten minutes after the roll-back "
            "was asked for: look at it in the CloudFormation console, then run `invoke teardown`."
        )

    def _wait_until_served(self, stop: Stop) -> environment.Deployment:
        """Wait for a task of this very deploy, and for an answer at the URL."""
        settings = self.bench.settings
        wrong, unreachable_since = "no task of it runs yet", time.monotonic()
        while not stop.asked():
            stack = self.place.aws.stack(settings.stack_name)
            tasks = environment.running(self.place, stack) if stack else []
            if stack and tasks:
                deployment = environment.describe(self.bench, self.place, stack, tasks)
                wrong = _wrong_with(deployment.url or "")
                if not wrong:
                    return deployment
                if wrong.startswith("it answers"):
                    unreachable_since = time.monotonic()
                elif settings.target == "aws" and time.monotonic() - unreachable_since > REACH_SECONDS:
                    self.bench.report.say(
                        f"ECS says that it is healthy, but from here {deployment.url} cannot be reached "
                        f"({wrong}): is this machine among the manifest's allowed_source_ips?"
                    )
                    return deployment
            time.sleep(0.2 if settings.target == "sandbox" else 2)
        if stop.interrupted:
            raise Interrupted(f"Interrupted; {self.branch.name} is deployed, but was not yet seen served.")
        raise Failed(
            f"{self.branch.name} is deployed, but was not served within DEPLOY_TIMEOUT: {wrong}. "
            "`invoke logs` shows what its containers say."
        )


def _plain(lines: list[str]) -> list[str]:
    """Copilot's lines as they would be read: no escapes, no empty ones, no notes of the sandbox's builder."""
    plain = [_ESCAPES.sub("", line).strip() for line in lines]
    return [line for line in plain if line and not line.startswith("sandbox: not done here")]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: the project's own login page, or HTTPS without a certificate here."""

    def redirect_request(self, *_: object) -> None:
        return None


def _wrong_with(url: str) -> str:
    """What is wrong with the answer there; empty where the project itself answers, be it with a 404."""
    if not url.startswith(("http://", "https://")):
        return "it has no URL yet"
    try:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        request, parts = urllib.request.Request(url), urlsplit(url)  # noqa: S310 - it was looked at above
        if parts.hostname == "localhost" or (parts.hostname or "").endswith(".localhost"):
            handlers.append(urllib.request.ProxyHandler({}))  # the user's proxy does not know our loopback
            # Not every system resolves names below localhost.
            here = parts._replace(netloc=f"127.0.0.1:{parts.port or 80}").geturl()
            request = urllib.request.Request(here, headers={"Host": parts.netloc})  # noqa: S310 - see above
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as response:
            response.read()
    except urllib.error.HTTPError as error:
        with error:
            return f"it answers {error.code}" if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
    except (OSError, HTTPException, ValueError) as error:
        return str(error)
    return ""


def _require_usable(stack: Stack | None) -> None:
    """Raises Failed where Copilot cannot go on from what an earlier run left."""
    stuck = {"UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"}
    if stack and stack.status in stuck:
        raise Failed(
            f"The stack {stack.name} is {stack.status}, and no deploy can go on from there: "
            "run `invoke teardown` first; if that fails, look at it in the CloudFormation console."
        )


@dataclass
class Watcher:
    """Looks at the stack while Copilot works.

    Containers are told as they come and go, and what failed is kept at once, because a roll-back deletes a
    new service's log group with everything else.
    """

    bench: Bench
    aws: Aws
    tags: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    failed: dict[str, tuple[Task, list[str]]] = field(default_factory=dict)
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    remembered: bool = False
    events: list[Event] = field(default_factory=list)
    _since: datetime = LONG_AGO  # AWS's clock, not this machine's
    _changed_at: datetime | None = None
    _known: set[str] = field(default_factory=set)
    _ours: bool = False
    _looks_settled: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def keep(self, line: str) -> None:
        """One of Copilot's lines."""
        self.lines.append(line)

    def __enter__(self) -> None:
        """Note what is there already, then watch."""
        name = self.bench.settings.stack_name
        stack = self.aws.stack(name)
        if stack:
            self._changed_at = stack.changed_at
            self._since = max((event.at for event in self.aws.events(name, self._since)), default=self._since)
            self._known = {task.id for task in self._tasks()}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(timeout=30)

    def signal_due(self) -> signal.Signals | None:
        """SIGTERM once our own change of the stack has settled and Copilot still waits.

        It looks every two to four seconds, and can miss the end of an ECS deployment and then waits for ever;
        nothing it does after that matters. Not SIGINT, which asks it for a roll-back.
        Source: internal/pkg/stream/ecs.go and internal/pkg/deploy/cloudformation/cloudformation.go of
        aws/copilot-cli 1.34.
        """
        return signal.SIGTERM if self._looks_settled > 1 else None

    def why(self, result: Result | None = None) -> str:
        """The failing container's last lines and the first failed event, as far as they were seen."""
        self._over.set()
        if self._thread:
            self._thread.join(timeout=30)
        with suppress(UserError):  # what was seen until now must do
            self._look()
        parts: list[str] = []
        if self.failed:
            task, lines = list(self.failed.values())[-1]
            container = task.failed_container
            name = container.name if container else "?"
            code = container.exit_code if container else None
            ended = f"ended with exit code {code}" if code is not None else (container and container.reason)
            parts.append(f"The container `{name}` {ended or task.stopped_reason}. Its last lines:")
            parts += [f"  {line}" for line in lines] or ["  (it wrote none)"]
            if task.stopped_reason:
                parts.append(f"The task stopped: {task.stopped_reason}")
        elif self.unfinished:
            parts.append(f"The container `{self.bench.settings.service}` was not healthy. Its last lines:")
            parts += [f"  {line}" for line in self.unfinished]
        first = next(
            (e for e in self.events if e.status.endswith("_FAILED") and "cancelled" not in e.reason), None
        )
        if first:
            parts.append(
                f"The first failed CloudFormation event: {first.resource} {first.status}: {first.reason}"
            )
        if not parts and result:
            parts.append("Copilot's last lines:")
            parts += [f"  {line}" for line in _plain(self.lines)[-25:]]
        return "".join(f"\n{part}" for part in parts)

    def remember_unfinished(self) -> None:
        """Keep the service's last lines before a roll-back deletes them."""
        self.remembered = True
        service = self.bench.settings.service
        with suppress(UserError):
            for task in self._tasks():
                if task.id not in self._known and task.status == "RUNNING":
                    self.unfinished = self._last_lines(service, task) or self.unfinished

    def _watch(self) -> None:
        pause = 0.2 if self.bench.settings.target == "sandbox" else 5.0
        told = ""
        # Between the two looks that tell that it has settled, the sandbox needs no pause.
        while not self._over.wait(0.02 if self._looks_settled and pause < 1 else pause):
            try:
                self._look()
                told = ""
            except UserError as error:
                if str(error) != told:
                    told = str(error)
                    self.bench.report.say(f"(Could not look at the deploy just now: {error})")

    def carried_by(self, stack: Stack) -> bool:
        """Whether the stack has this deploy's tags, its time among them."""
        return all(stack.tags.get(name) == tag_text(tag) for name, tag in self.tags.items())

    def _look(self) -> None:
        settings = self.bench.settings
        stack = self.aws.stack(settings.stack_name)
        # A stack that is being deleted to be made anew, or that somebody else changes, has other tags.
        if stack and self.carried_by(stack) and (stack.changing or stack.changed_at != self._changed_at):
            self._ours = True
        settled = self._ours and stack and not stack.status.endswith("_IN_PROGRESS")
        self._looks_settled = self._looks_settled + 1 if settled else 0
        self.events = self.aws.events(settings.stack_name, self._since) or self.events
        for task in self._tasks():
            if task.id in self._known:
                continue
            for container in task.containers:
                state = container.status + (f" ({container.exit_code})" if container.exit_code else "")
                if self.told.get((task.id, container.name)) != state:
                    self.told[task.id, container.name] = state
                    self.bench.report.say(f"  task {task.id[:8]}: {container.name} {state}")
            failed = task.failed_container
            if task.status == "STOPPED" and failed and task.id not in self.failed:
                self.failed[task.id] = (task, self._last_lines(failed.name, task))

    def _last_lines(self, container: str, task: Task) -> list[str]:
        settings = self.bench.settings
        group = f"/copilot/{settings.app}-{settings.test_env}-{settings.service}"
        return self.aws.last_lines(group, f"copilot/{container}/{task.id}", LAST_LINES)

    def _tasks(self) -> list[Task]:
        service = self.aws.resource(self.bench.settings.stack_name, "Service")
        if not service or "/" not in service:
            return []
        cluster, short = service.split("/")[-2:]
        return self.aws.tasks(cluster, short)
