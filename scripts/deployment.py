"""A branch goes live: `copilot deploy` of its commit, watched until that very commit is served."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts import (
    aliases,
    application,
    branch,
    branch_files,
    copilot,
    cost,
    display,
    environment,
    expiry,
    images,
    isolation,
    live,
    manifest,
    ownership,
    preflight,
    pull_request,
    rendered_guard,
    settling,
    shelf,
    trust,
)
from scripts.answer import CLOSED, wrong_with
from scripts.command import Stop, catching_signals
from scripts.errors import Held, Refused, SettingsError, UsageError, UserError
from scripts.ledger import Entry
from scripts.pull_request import Message
from scripts.report import as_json
from scripts.stack import tag_value
from scripts.watcher import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.branch import Branch
    from scripts.copilot import Copilot
    from scripts.environment import Bench, Place
    from scripts.lease import Lease
    from scripts.ledger import Ledger
    from scripts.stack import Stack


@dataclass(frozen=True)
class Asked:
    """What the flags of `deploy-test` say."""

    isolated: bool = False  # a service, a database and a Redis of the branch's own
    force: bool = False  # start new tasks whatever has changed
    wait: bool = False  # for a slot that another run is changing
    take_over: bool = False  # replace what somebody else has live there
    why: str = ""  # for those who might want the slot
    trust: str = ""  # changes of the branch that are allowed: names of scripts.trust, with commas
    plan: bool = False
    json: bool = False


def deploy(bench: Bench, name: str, asked: Asked) -> None:
    """Deploy a branch to the shared slot, or to one of its own, and wait until its commit is served.

    Raises the errors of scripts.errors; nothing was started when it is a SettingsError or Refused.
    """
    branch.check_name(name)
    asked = replace(asked, why=_reason(asked.why))  # told before anything begins
    trusted = bench.settings.trusted | trust.parse(asked.trust, "--trust")
    bench = replace(bench, settings=replace(bench.settings, trusted=trusted))
    if asked.isolated:
        bench = replace(bench, settings=bench.settings.isolated_for(branch.slug(name)))
    environment.announce(bench)
    environment.check_workspace(bench)
    expires = expiry.expiry(bench.settings.ttl, datetime.now(UTC))
    wanted = branch.find(bench.shell, bench.settings.root, name)
    if wanted.note:
        bench.report.say(wanted.note)
    place = environment.enter_to_change(bench, start=not asked.plan)
    if place is None:
        bench.report.say(f"Would start the sandbox, then deploy {name} at {wanted.commit[:12]} to it.")
        if asked.json:
            bench.report.data(as_json(asdict(_planned(bench, wanted, expires))))
        return
    _Deploy(bench, place, wanted, expires, asked).run()


def _reason(why: str) -> str:
    """What a deployment is for, as everybody may read it. Raises UsageError, SettingsError."""
    if display.has_secret(why):
        raise UsageError(
            "--why holds an address with a password, or a secret of your settings: everybody who may look at "
            "the stack reads it. Say it without."
        )
    shown = display.line(why)
    tag_value(shown)
    return shown


def _message(served: live.Deployment) -> Message:
    return Message(served.branch or "", served.commit, served.url, served.expires_at, served.service)


def _planned(bench: Bench, wanted: Branch, expires: datetime) -> live.Deployment:
    tags = {"branch": wanted.name, "commit": wanted.commit, "expires_at": live.iso(expires)}
    return live.deployment_of(bench.settings, tags)


@dataclass
class _Deploy:
    bench: Bench
    place: Place
    branch: Branch
    expires: datetime
    asked: Asked
    displaced: Message | None = None  # what is told to the pull request of the branch that was live there

    def run(self) -> None:
        report, started = self.bench.report, time.monotonic()
        before = self.place.aws.stack(self.bench.settings.stack_name)
        ownership.require_ours(before, self.bench.settings)
        served = None
        if not self.asked.force and not self.asked.plan and not (before and before.changing):
            served = self._served_already(before)
        if served:
            self._tell_unchanged(served)
        elif self.asked.plan:
            environment.require_settled(before)
            preflight.preflight(self.bench, self.place, builds=True)
            self._plan(before)
        else:
            preflight.preflight(self.bench, self.place, builds=True)
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
            self._tell(served)

    def _tell(self, served: live.Deployment) -> None:
        """Let the pull request and later steps of CI know; neither can fail the deploy."""
        environ, say = self.bench.environ, self.bench.report.say
        known = {"url": served.url, "service": served.service, "expires_at": served.expires_at}
        pull_request.outputs(environ, {name: value for name, value in known.items() if value}, say)
        for message in (self.displaced, _message(served) if served.url else None):
            if message:
                pull_request.tell(environ, message, say)

    def _alone(self) -> live.Deployment:
        """Deploy while nobody else changes the slot."""
        lease = shelf.lease(self.bench, self.place, f"deploying {self.branch.name}")
        with lease.held(wait=self.asked.wait, say=self.bench.report.say):
            # A run that was killed leaves Copilot's change under way.
            before = environment.settled(self.bench, self.place, wait=self.asked.wait)
            ownership.require_ours(before, self.bench.settings)
            is_new = self._is_new(before)
            before = settling.usable(self.bench, self.place, before)
            self._require_mine(before, lease.who)
            served = self._deploy(before, self._tags(before, lease.who), lease, is_new=is_new)
            self._record(shelf.ledger(self.bench, self.place), served)
            return served

    def _record(self, ledger: Ledger, served: live.Deployment) -> None:
        """Let `status` know. What is served is served: that this failed is only said."""
        try:
            ledger.record(served.service, shelf.entry(served))
        except UserError as error:
            self.bench.report.say(
                f"(The ledger of deployments was not written, so `status` knows less: {error})"
            )

    def _plan(self, before: Stack | None) -> None:
        by = environment.who(self.bench)
        self._require_mine(before, by)
        tags = self._tags(before, by)
        with branch.worktree(self.bench.shell, self.bench.settings.root, self.branch) as folder:
            here = self._prepared(folder)
            if self._is_new(before):
                self.bench.report.say(
                    f"Would add the service {self.bench.settings.service} to the application."
                )
            command = here.deploy(self._image_tag(before), tags)
        self.bench.report.say(f"Would deploy {self.branch.name} at {self.branch.commit[:12]}: {command}")
        self.bench.report.say(cost.of_deployment(self.bench, self.place.aws.region, self._ends(before)))

    def _prepared(self, folder: Path) -> Copilot:
        """Copilot in the branch's worktree, with the manifest that is to be deployed."""
        settings = self.bench.settings
        scope = branch_files.Scope(services=(settings.base,), environments=False)
        branch_files.require(folder, settings, self.bench.environ, scope, self.branch.name)
        file = folder / self._manifest_path
        found = manifest.read(file)
        self._check_block(found)
        aliases.require_own(file.read_text(encoding="utf-8-sig"), self._manifest_path, settings)
        host = self._host() if settings.slug else ""
        own = {alias.name: self.branch.name for alias in aliases.of(found, settings.test_env)}
        aliases.require_free({host: self.branch.name} if host else own, settings, [settings.root, folder])
        if settings.slug:
            isolation.generate(folder, settings, host)
        rendered_guard.require_harmless(self.bench, self.place, self.branch, folder, host)
        return replace(self.place.copilot, settings=settings, workspace=folder)

    def _host(self) -> str:
        """What the branch's own service answers to. Raises SettingsError where that is not its own."""
        settings = self.bench.settings
        if settings.target == "sandbox":
            return isolation.host(settings, "")
        domain = application.domain(settings, self.place.aws)
        aliases.require_domain_of_its_own(settings, domain)
        return isolation.host(settings, domain)

    def _is_new(self, before: Stack | None) -> bool:
        """Whether the application is still to be told of the branch's own service; the shared one it knows.

        Raises Refused where it has a service or job of that name that is not of these tasks' making.
        """
        settings, aws = self.bench.settings, self.place.aws
        if not settings.slug:
            return False
        if not application.knows(settings.shared, aws):
            raise SettingsError(
                f"The application {settings.app} does not know the service {settings.base} yet, which "
                "isolated deployments are made from: deploy a branch to the shared slot first."
            )
        known = application.knows(settings, aws)
        if not known and not before:
            return True
        entry = shelf.ledger(self.bench, self.place).read().deployments.get(settings.service)
        ours = entry and entry.isolated and branch.slug(entry.branch or "?") == settings.slug
        if not ours and not (before and before.tags.get("isolated")):
            raise Refused(
                f"The application {settings.app} has a service {settings.service} that these tasks have not "
                f"made: {self.branch.name} cannot have that name. Rename the branch, or deploy it to the "
                "shared slot."
            )
        return not known

    @contextmanager
    def _adding(self) -> Iterator[None]:
        """While Copilot makes the branch's own service known to the application: one at a time."""
        settings = self.bench.settings
        shelf.ledger(self.bench, self.place).record(settings.service, Entry(self.branch.name, isolated=True))
        lease = shelf.application_lease(self.bench, self.place, f"adding {settings.service}")
        with lease.held(wait=True, say=self.bench.report.say):
            application.require_room(settings, self.place.aws)
            yield

    def _deploy(
        self, before: Stack | None, tags: Mapping[str, str], lease: Lease, *, is_new: bool
    ) -> live.Deployment:
        """Deploy and wait until it is served."""
        bench, settings = self.bench, self.bench.settings
        with (
            branch.worktree(
                bench.shell, settings.root, self.branch, tags["deployed_at"], settings.test_env
            ) as folder,
            ExitStack() as adding,
        ):
            here = self._prepared(folder)
            if is_new:
                adding.enter_context(self._adding())
            command = here.deploy(self._image_tag(before), tags)
            lease.require_held()  # to get here can have taken minutes
            old = self.place.aws.resource(settings.stack_name, "TaskDefinition") if before else None
            with catching_signals(settings.timeout, bench.report.say) as stop:
                watcher = Watcher(bench, self.place.aws, tags)

                def hear(line: str) -> None:
                    watcher.keep(line)
                    if copilot.knows_service(line):
                        adding.close()

                doing = f"Deploying {self.branch.name} at {self.branch.commit[:12]} to {settings.test_env}"
                with bench.report.waiting(doing), watcher:
                    result = bench.shell.stream(command, hear, lambda: self._signal_due(watcher, stop, lease))
                    lease.require_held()
                    settling.require_deployed(bench, self.place, self.branch, result, watcher, stop)
                    served = settling.wait_until_served(bench, self.place, self.branch, stop)
        if old and old == self.place.aws.resource(settings.stack_name, "TaskDefinition"):
            self._tell_unchanged(served)
        return served

    def _signal_due(self, watcher: Watcher, stop: Stop, lease: Lease) -> signal.Signals | None:
        if (
            lease.lost
        ):  # not SIGINT: Copilot would roll back whatever is under way, somebody else's deploy too
            return signal.SIGTERM
        if stop.timed_out and not watcher.remembered:
            watcher.remember_unfinished()
        return watcher.signal_due() or stop.signal_due()

    def _served_already(self, before: Stack | None) -> live.Deployment | None:
        """The deployment, where it is this very one already: same commit, same end, and healthy."""
        if not before or not before.live:
            return None
        wanted = {
            "branch": self.branch.name,
            "commit": self.branch.commit,
            "expires_at": self._end(before),
        } | ({"why": self.asked.why} if self.asked.why else {})
        if wanted.items() - before.tags.items():
            return None
        tasks = live.running(self.place, before)
        if not tasks:
            return None
        deployment = live.describe(self.bench, self.place, before, tasks)
        return deployment if deployment.url and wrong_with(deployment.url) in {"", CLOSED} else None

    def _tell_unchanged(self, served: live.Deployment) -> None:
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

    def _image_tag(self, before: Stack | None) -> str:
        """A new tag each time where new tasks are to be started whatever has changed.

        So it is too where a killed teardown had ended the tasks: Copilot would find nothing to change.
        """
        ended = before and before.live and not live.alive(self.place, before)
        more = f"-{datetime.now(UTC):%Y%m%d%H%M%S}" if self.asked.force or ended else ""
        return images.tag(self.bench.settings.test_env, self.branch.commit, more)

    def _tags(self, before: Stack | None, by: str) -> Mapping[str, str]:
        """What the stack remembers. What runs already stays deployed by whom and when it was.

        So an unchanged redeploy changes nothing, unless its expiry moves.
        """
        facts = {
            "branch": self.branch.name,
            "commit": self.branch.commit,
            "deployed_by": by,
            "deployed_at": live.iso(datetime.now(UTC)),
        }
        runs = before.tags if before and before.live and not self.asked.force else {}
        if all(runs.get(name) == facts[name] for name in ("branch", "commit")):
            facts |= {name: runs.get(name, facts[name]) for name in ("deployed_by", "deployed_at")}
        facts["expires_at"] = self._end(before)
        of_same = before.tags if before and before.tags.get("branch") == self.branch.name else {}
        if why := self.asked.why or of_same.get("why"):
            facts["why"] = why
        if self.bench.settings.slug:
            facts["isolated"] = "yes"
        return {name: tag_value(value) for name, value in facts.items()}

    def _ends(self, before: Stack | None) -> datetime | None:
        """A redeploy renews, and never shortens what `extend` has granted; None: it has no end."""
        tags = before.tags if before and before.live else {}
        had = tags.get("expires_at") if tags.get("branch") == self.branch.name else None
        return expiry.later(had, self.expires)

    def _end(self, before: Stack | None) -> str:
        """The tag."""
        end = self._ends(before)
        return live.iso(end) if end else expiry.KEPT

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
        self.displaced = Message(theirs or "", tags.get("commit"), None, None, self.bench.settings.service)
