"""Define the tasks of the menu. `invoke --list` shows them, `invoke TASK --help` explains one."""

import sys
from pathlib import Path

# In a clone the tasks run from its sources; where they are installed, this folder does not exist.
_SOURCES = Path(__file__).resolve().parent / "scripts"
if (_SOURCES / "copilot_testenv").is_dir():
    sys.path[:0] = [str(_SOURCES), str(_SOURCES / "sandbox")]

from copilot_testenv.menu import YES, session, sessions, verb  # noqa: E402 - see above


@verb(
    branch="Deploy this Git branch, of this repository or of origin (default: the one that is checked out).",
    isolated="Give the branch a service, URL, database and Redis of its own (default: the shared slot).",
    force="Start new tasks even where nothing changed (default: off).",
    take_over="Replace another person's live branch (default: keep it and exit 5).",
    why="Give the reason for the deployment, for people who need the slot (default: none).",
    trust="Allow these changes of the branch: access, cdk, paths, references, resources, rules, submodules, "
    "with commas (default: TRUSTED_CHANGES, else none).",
    yes="Answer yes to the question whether a branch of yours that is kept may be replaced (default: ask).",
    verbose="With --plan: show Copilot's command line too (default: off).",
)
def deploy_test(
    branch: str | None = None,
    isolated: bool = False,
    force: bool = False,
    wait: bool = False,
    take_over: bool = False,
    why: str = "",
    trust: str = "",
    yes: bool = False,
    plan: bool = False,
    verbose: bool = False,
    json: bool = False,
) -> None:
    """Deploy a branch to the shared slot of test, or beside it; print its URL.

    The task waits until that commit is served. A redeploy renews the expiry
    and never shortens it.

    Example: invoke deploy-test --branch feature/checkout --isolated
    """
    from copilot_testenv.deploys.deploy import Options, deploy

    deploy(session(), branch, Options(isolated, force, wait, take_over, why, trust, yes, plan, verbose, json))


@verb(
    branch="Remove this branch's deployment, in either slot (default: the shared slot, with any branch).",
    expired="Remove what has expired, with --branch of that branch alone; for a schedule (default: off).",
    all="Remove every deployment (default: off).",
    orphans="Remove what belongs to no deployment: services, databases, image tags (default: off).",
    yes=YES,
)
def teardown(
    branch: str = "",
    expired: bool = False,
    all: bool = False,
    orphans: bool = False,
    wait: bool = False,
    yes: bool = False,
    plan: bool = False,
    json: bool = False,
) -> None:
    """Remove deployments; the environment itself stays. It is safe to repeat.

    Without a flag it removes the shared slot's. It ends with 4 if something
    could not be removed.

    Example: invoke teardown --branch feature/checkout --yes
    """
    from copilot_testenv.deploys import teardown as workflow

    options = workflow.Options(branch, expired, all, orphans, wait, yes, plan, json)
    workflow.teardown(session(), options)


@verb(
    branch="Change when this branch's deployment expires (no default).",
    until="Set this expiry: 5d, a date, or a week's end such as friday 18:00 Europe/London (no default).",
    keep="Let it never expire: it stays until it is torn down or extended (default: off).",
)
def extend(
    branch: str = "",
    until: str = "",
    keep: bool = False,
    wait: bool = False,
    yes: bool = False,
    plan: bool = False,
    json: bool = False,
) -> None:
    """Change when a deployment expires, without a new deploy.

    Example: invoke extend --branch feature/checkout --until 5d
    """
    from copilot_testenv.deploys import extend

    extend.extend(session(), name=branch, until=until, keep=keep, wait=wait, plan=plan, json=json)


@verb(branch="Stop this branch's tasks (default: the shared slot's, with any branch).")
def sleep(
    branch: str = "", wait: bool = False, yes: bool = False, plan: bool = False, json: bool = False
) -> None:
    """Stop a deployment's tasks until it is woken; its URL and data stay.

    Example: invoke sleep --branch feature/checkout
    """
    from copilot_testenv.deploys import office_hours

    office_hours.sleep(session(), office_hours.Options(branch, wait, plan, json))


@verb(branch="Wake this branch's deployment (default: the shared slot, with any branch).")
def wake(
    branch: str = "", wait: bool = False, yes: bool = False, plan: bool = False, json: bool = False
) -> None:
    """Start the tasks of a deployment that sleeps; wait until it is served.

    Example: invoke wake --branch feature/checkout
    """
    from copilot_testenv.deploys import office_hours

    office_hours.wake(session(), office_hours.Options(branch, wait, plan, json))


@verb(html="Write a page for people without a terminal to this file or s3://… (default: none).")
def status(html: str = "", json: bool = False) -> None:
    """Show what is deployed: branch, commit, by whom, URL, expiry, age of data.

    Example: invoke status --html status.html
    """
    from copilot_testenv.deploys import status

    status.status(session(), html=html, json=json)


@verb(
    branch="Show the lines of this branch's deployment (default: the shared slot, with any branch).",
    service="Show another service of the branch, such as worker (default: the web service).",
    container="Show only this container's lines, such as web, startup or redis (default: all of them).",
    limit="Show at most this number of lines (default: 100).",
    follow="Continue with new lines until Ctrl-C (default: off).",
    all_tasks="Show the lines of stopped tasks too (default: of the running ones, if there are any).",
    health_checks="Show the requests of the load balancer's health check too (default: off).",
)
def logs(
    branch: str = "",
    service: str = "",
    container: str = "",
    limit: str = "100",
    follow: bool = False,
    all_tasks: bool = False,
    health_checks: bool = False,
) -> None:
    """Show the last lines of deployed containers, with time, container and task.

    Example: invoke logs --container startup --limit 50
    """
    from copilot_testenv.deploys import logs as workflow

    options = workflow.Options(branch, service, container, limit, follow, all_tasks, health_checks)
    workflow.logs(session(), options)


@verb(
    branch="Open this branch's deployment (default: the shared slot, with any branch).",
    service="Open another web service of the branch, such as api (default: the web service).",
)
def open_(branch: str = "", service: str = "") -> None:
    """Print the URL of a deployment; open it where you have a screen.

    Example: invoke open --branch feature/checkout
    """
    from copilot_testenv.deploys import open_url

    open_url.open_url(session(), branch, service)


@verb(
    command="Run this line of a shell, such as 'pip list' (no default).",
    manage="Run this command of the project's manage.py, such as 'showmigrations shop' (no default).",
    login="Make a user of this name with all rights, and tell its new password once (no default).",
    branch="Run it in this branch's image, with its database (default: the shared slot, with any branch).",
    service="Run it as another service of the branch, such as worker (default: the web service).",
)
def exec_(
    command: str = "",
    manage: str = "",
    login: str = "",
    branch: str = "",
    service: str = "",
    wait: bool = False,
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Run a command in a deployed branch's image, with its database.

    Example: invoke exec --manage "showmigrations shop"
    """
    from copilot_testenv.deploys import run_command as workflow

    workflow.run(session(), workflow.Options(command, manage, login, branch, service, wait, plan))


@verb(branch="Copy into this branch's database (default: the shared slot's, with any branch).", yes=YES)
def copy_db(
    branch: str = "", wait: bool = False, yes: bool = False, plan: bool = False, json: bool = False
) -> None:
    """Copy staging's database afresh into a deployed branch's.

    The data are migrated, the service continues to run meanwhile, and the exit
    code is the copy's.

    Example: invoke copy-db --yes
    """
    from copilot_testenv.deploys import copy_db

    copy_db.copy(session(), name=branch, wait=wait, yes=yes, plan=plan, json=json)


@verb(
    format="Print findings as text, github (annotations), gitlab (Code Quality) or sarif (default: text).",
    account="Look at the account, not at the files, and change nothing (default: off).",
    fix="First correct what has one right answer: misspelt words, runtimes (default: off).",
    baseline="Write what is found to copilot-check-baseline.json; it is not shown again (default: off).",
    plan="With --fix: show what it would write and change nothing (default: off).",
)
def check(
    format: str = "text",
    account: bool = False,
    fix: bool = False,
    baseline: bool = False,
    yes: bool = False,
    plan: bool = False,
    json: bool = False,
) -> None:
    """Find mistakes in the manifests without AWS, with Copilot's own verdict.

    The task ends with 2 if there is an error.

    Example: invoke check --format github
    """
    from copilot_testenv.check import workflow

    workflow.check(
        *sessions(), json=json, style=format, fix=fix, plan=plan, account=account, baseline=baseline
    )


@verb(
    env="Package this environment (no default).",
    service="Package only this service's stack (default: the environment's and all services').",
    output="Write to this folder (default: cloudformation/ENV).",
    domain="Use this as the application's domain (default: the longest domain above all aliases).",
    yes=YES,
)
def package(
    env: str = "",
    service: str = "",
    output: str = "",
    domain: str = "",
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Write what Copilot would deploy as plain CloudFormation.

    Example: invoke package --env production
    """
    from copilot_testenv.export import workflow

    workflow.package(session(), workflow.Options(env, service, output, domain, yes, plan))


@verb(
    region="Use this region's list prices (default: AWS_REGION, else us-east-1).",
    node="Compare with a copy of stage that has this ElastiCache node (default: cache.t4g.micro).",
)
def cost(region: str = "", node: str = "", json: bool = False) -> None:
    """Show what a deployment costs by AWS's list prices, and what it saves.

    Example: invoke cost --region eu-west-1
    """
    from copilot_testenv.costs import report as workflow

    workflow.cost(session(), json=json, region=region, node=node)


@verb(
    profile="Create it with this profile of ~/.aws (default: AWS_PROFILE, else default).",
    region="Create it in this region (default: the one of your AWS configuration).",
    mark_disposable="Create nothing; mark this environment: all in it may be deleted (default: none).",
    confirm="Repeat the name, for --mark-disposable (default: none).",
    yes=YES,
)
def create_env(
    profile: str = "",
    region: str = "",
    mark_disposable: str = "",
    confirm: str = "",
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Create the test environment once, mark it, say which secrets are missing.

    Example: DEPLOY_TARGET=aws invoke create-env --profile dev
    """
    from copilot_testenv.deploys import create_env

    create_env.create_env(session(), create_env.Options(profile, region, mark_disposable, confirm, yes, plan))


@verb(
    service="Show this service's containers (default: COPILOT_SERVICE).",
    env="Show only this environment, or edit it with --add and --remove (default: every environment).",
    add="Add this sidecar to the environment: one of the catalogue, or a name of your own (default: none).",
    from_="Read the sidecar from this YAML file (default: from the catalogue).",
    from_service="Make a sidecar of this Worker or Backend Service, or renew it (default: none).",
    remove="Remove this sidecar from the environment, with everything that --add wrote (default: none).",
    diagram="Print the order of start as a Mermaid diagram (default: off).",
)
def sidecar_config(
    service: str = "",
    env: str = "",
    add: str = "",
    from_: str = "",
    from_service: str = "",
    remove: str = "",
    json: bool = False,
    diagram: bool = False,
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Show each environment's containers; add or remove a sidecar.

    An edit changes no other byte of the manifest; a name that is not known
    lists the catalogue.

    Example: invoke sidecar-config --add mailpit --env test
    """
    from copilot_testenv.deploys import sidecar_config as workflow

    options = workflow.Options(service, env, add, from_, remove, from_service, json, diagram, plan)
    workflow.sidecar_config(session(), options)


@verb(
    into="Bring them into this folder: a Django project with Copilot manifests, in Git (no default).",
    service="Take this service of it (default: its only one behind a load balancer that runs Django).",
    from_="Take the wheels from this index or Git address, git+https://… (default: build this clone's).",
    take="Replace these files, with commas, although they were edited (default: none).",
    ci="Write the files for this forge's CI too: github, gitlab or bitbucket (default: none).",
    media="Let branches read these buckets of staging's, with commas (default: none).",
    check="Show what is older than this version, write nothing; end with 2 for any (default: off).",
    yes=YES,
)
def adopt(
    into: str = "",
    service: str = "",
    from_: str = "",
    take: str = "",
    ci: str = "",
    media: str = "",
    check: bool = False,
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Add these tasks to your project, or upgrade them there.

    Nothing that you have written or edited is overwritten. The task shows each
    change before it asks.

    Example: invoke adopt --into ../shop --plan
    """
    from copilot_testenv.adopt import workflow

    options = workflow.Options(into, service, from_, take, ci, check, yes, plan, media)
    workflow.adopt(session(elsewhere=True), options)


@verb(
    stop="Stop it; what is deployed in it is gone, its databases are kept (default: off).",
    reset="Stop it and delete all its data (default: off).",
    from_="Fill staging, where it is still empty, from this branch (default: the default branch).",
    yes=YES,
)
def sandbox(
    stop: bool = False, reset: bool = False, from_: str = "", yes: bool = False, plan: bool = False
) -> None:
    """Start the embedded AWS; other tasks start it when they need it.

    Example: invoke sandbox --reset --yes
    """
    session().sandbox(stop=stop, reset=reset, yes=yes, plan=plan, source=from_)
