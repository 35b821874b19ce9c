"""Deploy a branch: build its commit, update its stack, and wait until exactly that commit is served."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from copilot_testenv.aws.stack import tag_text
from copilot_testenv.branch_guard import branch_files
from copilot_testenv.ci import deployments
from copilot_testenv.copilot import (
    branch_service,
    capacity,
    commands,
    manifest,
    ownership,
)
from copilot_testenv.core import checkout, expiry, git, moments, trust
from copilot_testenv.core.errors import Failed, Interrupted
from copilot_testenv.core.process import Stop, catching_signals
from copilot_testenv.costs import estimate
from copilot_testenv.deploys import (
    bring_back,
    chosen_branch,
    companions,
    deploy_others,
    environment_turn,
    office_hours,
    outcome,
    own_service,
    preflight,
    recorded,
    rendered_guard,
    replacing,
    settling,
    slot_services,
)
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.deploys.probe import open_page
from copilot_testenv.deploys.settling import COMPLETE, NoCapacity, NotDeployed
from copilot_testenv.deploys.stack_tags import StackTags
from copilot_testenv.deploys.watch import Watcher
from copilot_testenv.session import require_settled
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from pathlib import Path
    from signal import Signals

    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.ci.pull_request import Message
    from copilot_testenv.core.git import Branch
    from copilot_testenv.deployers.deployer import Deployer
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease


_ROLLS_BACK = (
    "Interrupted: the deploy is rolled back, which takes seconds in the sandbox and minutes on AWS. "
    "What was served before, if anything, comes back; please wait."
)


@dataclass(frozen=True)
class Options:
    """The flags of `deploy-test`."""

    isolated: bool = False  # the branch gets its own service, database and Redis
    force: bool = False  # start new tasks even if nothing changed
    wait: bool = False  # wait for a slot that another run is changing
    take_over: bool = False  # replace another person's live branch
    why: str = ""  # the reason, for people who need the slot
    trust: str = ""  # the changes that the branch may make: names in core.trust, with commas
    yes: bool = False
    plan: bool = False
    verbose: bool = False  # with `plan`: show the command lines too
    json: bool = False


def deploy(session: Session, name: str | None, options: Options) -> None:
    """Deploy a branch to the shared slot or to its own slot, and wait until its commit is served.

    Without a name (None) it is the branch that is checked out.
    Raises the errors of core.errors; with SettingsError or Refused nothing in the environment was changed.
    """
    options = replace(options, why=preflight.reason(options.why))  # a fault in it is told first
    name, notes = chosen_branch.chosen(session, name)
    trusted = session.settings.trusted | trust.parse(options.trust, "--trust")
    session = replace(session, settings=replace(session.settings, trusted=trusted))
    if options.isolated:
        session = replace(session, settings=session.settings.isolated_for(git.slug(name)))
    session.announce()
    for line in notes:
        session.report.say(line)
    session.check_workspace()
    expires = expiry.expiry(session.settings.ttl, datetime.now(UTC))
    wanted = git.find(session.shell, session.settings.root, name)
    if wanted.note:
        session.report.say(wanted.note)
    target = session.enter_to_change(start=not options.plan)
    if target is None:
        session.report.say(f"Would start the sandbox, then deploy {name} at {wanted.commit[:12]} to it.")
        if options.json:
            session.report.data(outcome.document(_planned(session, wanted, expires), None))
        return
    run = _Deploy(session, target, wanted, expires, options)
    if options.plan:
        run.run()
        return
    with deployments.shown(
        session.environ, wanted.commit, session.settings.stack_name, session.report.say
    ) as shown:
        shown.url = run.run()


def _planned(session: Session, wanted: Branch, expires: datetime) -> live.Deployment:
    tags = {"branch": wanted.name, "commit": wanted.commit, "expires_at": live.iso(expires)}
    tags[live.SERVICES] = " ".join(own.service for own in session.settings.others)
    return live.deployment_of(session.settings, tags)


@dataclass
class _Deploy:
    session: Session
    target: Target
    branch: Branch
    expires: datetime
    options: Options
    on_demand: bool = field(default=False, init=False)  # without Spot, which had no room
    # For the pull request of the branch that was live in the slot before.
    displaced: Message | None = field(default=None, init=False)

    @property
    def tags(self) -> StackTags:
        """The tags of the stack that this run deploys."""
        settings, options = self.session.settings, self.options
        return StackTags(settings, self.branch, self.expires, options.why, is_forced=options.force)

    def run(self) -> str | None:
        """Deploy, tell the outcome and return the URL; with `plan`, only say what would happen."""
        report, started = self.session.report, time.monotonic()
        before = self.target.aws.stack(self.session.settings.stack_name)
        ownership.require_ours(before, self.session.settings)
        served = None
        if not self.options.force and not self.options.plan and not (before and before.changing):
            served = self._served_already(before)
        if served:
            outcome.tell_unchanged(self.session, served.deployment)
        elif self.options.plan:
            require_settled(before)
            preflight.preflight(self.session, self.target, builds=True)
            if before and self._has_all(before) and not self.options.force:
                report.say(office_hours.plan(self.target, self.branch, before))
            else:
                self._plan(before)
        else:
            preflight.preflight(self.session, self.target, builds=True)
            served = self._alone()
        if served is None:
            if self.options.json:
                report.data(outcome.document(_planned(self.session, self.branch, self.expires), None))
            return None
        seconds, json = time.monotonic() - started, self.options.json
        outcome.tell(self.session, self.branch, served, self.displaced, seconds=seconds, json=json)
        return served.deployment.url

    def _alone(self) -> Served:
        """Deploy while this run holds the slot's lease."""
        lease = bucket.lease(self.session, self.target, f"deploying {self.branch.name}")
        with lease.held(wait=self.options.wait, say=self.session.report.say):
            # The change of a run that was killed can still be under way.
            before = self.session.settled(self.target, wait=self.options.wait)
            ownership.require_ours(before, self.session.settings)
            try:
                served = self._woken(before) or self._attempt(before, lease)
            except Failed as error:
                if self.session.settings.capacity == capacity.SPOT_FIRST and isinstance(error, NoCapacity):
                    self.on_demand = True
                    again = "AWS has no room on Spot: one more try on demand (TEST_CAPACITY=spot-first)."
                elif environment_turn.was_busy(self.session.settings, str(error)):
                    again = "Another run changed the environment: one more try."
                else:
                    raise
                self.session.report.say(f"{error}\n{again}")
                served = self._attempt(self.session.settled(self.target, wait=True), lease)
            recorded.served(self.session, self.target, served.deployment)
            return served

    def _woken(self, before: Stack | None) -> Served | None:
        """Start the tasks of a slot that has this commit and only sleeps; None where a deploy is needed."""
        if self.options.force or not before or not self._has_all(before):
            return None
        return office_hours.woken(self.session, self.target, self.branch, before)

    def _attempt(self, before: Stack | None, lease: Lease) -> Served:
        is_new = own_service.is_new(self.session, self.target, self.branch, before)
        self._require_replaceable(before, lease.who)
        try:
            return self._deploy(before, lease, is_new=is_new)
        except (NotDeployed, Interrupted) as error:
            recorded.failed(self.session, self.target, self.branch, lease.who, error)
            raise

    def _plan(self, before: Stack | None) -> None:
        by = self.session.who()
        self._require_replaceable(before, by)
        tags = self.tags.of(before, by)
        with checkout.worktree(self.session.shell, self.session.settings, self.branch) as folder:
            in_review = before is not None and before.in_review
            deployer, _ = self._prepared(folder, renders=not in_review)
            if in_review:
                self.session.report.say(settling.in_review(self.session.settings.stack_name))
            if own_service.is_new(self.session, self.target, self.branch, before):
                self.session.report.say(
                    f"Would add the service {self.session.settings.service} to the application."
                )
            command = deployer.plan(self.tags.image(self.target, before), tags)
        settings, say = self.session.settings, self.session.report.say
        to = "its own slot" if settings.slug else "the shared slot"
        change = "changes" if before and before.live else "creates"
        expires = tags["expires_at"]
        until = "until it is torn down" if expires == expiry.KEPT else f"until {moments.told(expires)}"
        say(
            f"Would deploy {self.branch.name} at {self.branch.commit[:12]} to {to}, {until}: it builds "
            f"its images, {change} the stack {settings.stack_name} and starts its containers."
        )
        if others := ", ".join(own.service for own in settings.others):
            say(f"Would then deploy, at the same commit: {others}.")
        if self.options.verbose:
            say(f"  `{command}`")
        say(estimate.of_deployment(self.session, self.target.aws.region, self.tags.expiry(before)))

    def _prepared(self, folder: Path, *, renders: bool = True) -> tuple[Deployer, list[deploy_others.Other]]:
        """Check the branch's worktree, generate its own services' manifests, and return what deploys them.

        Without `renders`, what the branch would deploy is not compared with the default branch's.
        """
        settings = self.session.settings
        scope = branch_files.Scope(services=settings.peers, environments=False)
        branch_files.require(folder, settings, self.session.environ, scope, self.branch.name)
        path = str(settings.manifest.relative_to(settings.root))
        file, shown = folder / path, f"{path} of {self.branch.name}"
        found = manifest.read(file)
        cure = f"Merge the branch that has it into {self.branch.name}"
        manifest.check_environment(found, settings.test_env, shown, cure)  # this one is deployed
        office_hours.require_fixed_count(settings, found, shown)
        builds, shell, say = manifest.builds(found), self.session.shell, self.session.report.say
        for line in companions.missing(settings, found, self.branch.name):
            say(line)
        checkout.prepare_contexts(shell, settings.root, folder, self.branch, builds, say)
        addresses = own_service.addresses(settings, self.target.aws, folder)
        own_service.require_host_names(settings, self.branch, addresses, folder)
        own_service.require_free_labels(self.session, self.target, self.branch, addresses)
        if settings.slug:
            branch_service.generate(folder, settings, addresses)
        deployer = self.session.deployer(self.target.for_slot(settings))
        if renders:
            templates = deployer.templates
            if note := templates.note(folder):
                self.session.report.say(note)
            rendered_guard.require_harmless(self.session, templates, self.branch, folder, addresses)
        others = deploy_others.prepared(
            self.session, self.target, self.branch, folder, addresses, renders=renders
        )
        return deployer, others

    def _deploy(self, before: Stack | None, lease: Lease, *, is_new: bool) -> Served:
        """Deploy the branch, wait until it answers, and return the deployment with its page."""
        session, settings = self.session, self.session.settings
        tags = self.tags.of(before, lease.who)
        moment, until = tags["deployed_at"], tags["planned_until"]
        # An unchanged redeploy has the same values, so that its image is the same.
        facts = {
            "deploy": moment,
            "environment": settings.test_env,
            "deployed_by": tag_text(tags["deployed_by"]),
            "expires_at": until,
        }
        with (
            checkout.worktree(session.shell, settings, self.branch, facts) as folder,
            ExitStack() as environment,
            ExitStack() as adding,
        ):
            if before and before.in_review:  # it has no resource, and Copilot renders nothing beside it
                before = settling.usable(session, self.target, before)
            deployer, others = self._prepared(folder)
            every = [settings, *(other.settings for other in others)]
            if self.on_demand and not sum(capacity.without_spot(folder, own) for own in every):
                raise Failed(f"{self.branch.name} asks for no Spot, so nothing else can be tried.")
            # Up to here the branch can be refused, so only from here on is anything changed.
            repaired = settling.usable(session, self.target, before)
            if repaired is not before:
                before = repaired
                self._require_replaceable(before, lease.who)
            tags = {**self.tags.of(before, lease.who), "deployed_at": moment, "planned_until": until}
            if not before or not before.live:  # it changes the environment's stack, and adds listener rules
                doing = f"adding {settings.service}"
                environment.enter_context(environment_turn.held(session, self.target, doing))
            if is_new:
                adding.enter_context(own_service.adding(session, self.target, self.branch))
            image_tag = self.tags.image(self.target, before)
            lease.require_held()  # the steps before can have taken minutes
            deploy_others.note(session, self.target, self.branch)
            old = self.target.aws.resource(settings.stack_name, "TaskDefinition") if before else None
            with (
                bring_back.all_or_nothing(session, self.target, self.branch, lease, every) as changed,
                catching_signals(settings.timeout, session.report.say, _ROLLS_BACK) as stop,
            ):
                watcher = Watcher(session, self.target.aws, tags)

                def hear(line: str) -> None:
                    watcher.keep(line)
                    if commands.knows_service(line):
                        adding.close()

                doing = f"Deploying {self.branch.name} at {self.branch.commit[:12]} to {settings.test_env}"
                with session.report.waiting(doing), watcher:
                    signal_due = partial(self._signal_due, watcher, stop, lease, environment)
                    result = deployer.deploy(folder, image_tag, tags, hear, signal_due)
                    lease.require_held()
                    settling.require_deployed(session, self.target, self.branch, result, watcher, stop)
                    changed.append(settings)
                    environment.close()
                    office_hours.apply(session, self.target, before)
                    served = settling.wait_until_served(session, self.target, self.branch, stop)
                roll = deploy_others.Roll(session, self.branch, lease, folder, self.tags, changed)
                served = outcome.together(served, roll.deploy(others, tags, stop))
        if old and old == self.target.aws.resource(settings.stack_name, "TaskDefinition"):
            outcome.tell_unchanged(self.session, served.deployment)
        return served

    def _signal_due(
        self, watcher: Watcher, stop: Stop, lease: Lease, environment: ExitStack
    ) -> Signals | None:
        """Return the signal for the deploy; see settling.signal_due.

        Let others change the environment as soon as this deploy needs it no longer.
        """
        if environment_turn.rules_stand(event.resource for event in watcher.events):
            environment.close()
        return settling.signal_due(watcher, stop, lease)

    def _served_already(self, before: Stack | None) -> Served | None:
        """Return the live deployment if it has the same commit, expiry and hours, and works; else None."""
        if not before or not self._has_all(before):
            return None
        tasks = live.running(self.target, before)
        if not tasks:
            return None
        deployment = live.describe(self.session, self.target, before, tasks)
        page = open_page(deployment.url or "")
        others = [open_page(url) for url in deployment.more_urls.values()]
        if any(each.fault not in {None, "closed"} for each in (page, *others)):
            return None
        if self.session.settings.hours:  # a run that was killed can have left them unset
            office_hours.apply(self.session, self.target, before)
        found = Served(deployment, page)
        return settling.with_ended(self.session, self.target, before, found, tasks, wait=False)

    def _has_all(self, before: Stack) -> bool:
        """Return True if the stack is complete and has the commit, expiry and hours of this deploy."""
        if before.status not in COMPLETE:  # after a roll-back, tags do not tell the data
            return False
        wanted = {"branch": self.branch.name, "commit": self.branch.commit}
        wanted["expires_at"] = self.tags.expiry_tag(before)
        if self.options.why:
            wanted["why"] = self.options.why
        same_hours = before.tags.get("hours", "") == str(self.session.settings.hours or "")
        if not same_hours or wanted.items() - before.tags.items():
            return False
        return slot_services.have(self.session.settings, self.target, before.tags)

    def _require_replaceable(self, before: Stack | None, by: str) -> None:
        """Say what this deploy replaces. Raises Held, Refused."""
        options = self.options
        self.displaced = replacing.require_replaceable(
            self.session,
            before,
            self.branch.name,
            by,
            take_over=options.take_over,
            yes=options.yes,
            plan=options.plan,
        )
