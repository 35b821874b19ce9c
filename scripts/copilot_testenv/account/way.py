"""Rules on the way from the test environment's tasks to staging's database, which is copied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from copilot_testenv.account.look import AccountFinding, Look
from copilot_testenv.core import documents
from copilot_testenv.core.errors import UserError

if TYPE_CHECKING:
    from copilot_testenv.aws.network import Server

_POSTGRES = 5432
_OF_STAGING = re.compile("sta?g", re.IGNORECASE)
_IN_STACK = documents.page("stack.md#the-network-between-them")
_AVAILABLE = {
    "available",
    "backing-up",
    "modifying",
    "storage-optimization",
    "configuring-enhanced-monitoring",
}


@dataclass(frozen=True)
class Address:
    """The parts of a database's address, without its password. Hosts and users are never shown."""

    host: str
    port: int
    user: str
    name: str


def address(url: str) -> Address | None:
    """Return the parts of a database's URL; None where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _POSTGRES
    except ValueError:
        return None
    if not parts.scheme.startswith("postgres") or not parts.hostname:
        return None
    return Address(parts.hostname, port, unquote(parts.username or ""), parts.path.strip("/"))


def copy(look: Look) -> Iterator[AccountFinding]:
    """Find what keeps the copy from staging's database, or lets it read more than it should."""
    source, target = _addresses(look)
    yield from _secret(look, source, target)
    servers = look.aws.database_servers()
    found = _server(look, source, servers)
    if found is None:
        yield from _unknown(look, source)
        return
    if source and source.user and source.user == found.master:
        yield AccountFinding(
            "copy-role",
            "error",
            f"the secret of staging's address names the master user of {found.name}",
            "a mistake in a branch could change staging, because that user may write",
            "make a role that may only read and put its address into the secret "
            f"({documents.page('adopt.md#on-aws')})",
        )
    if found.status and found.status not in _AVAILABLE:
        yield AccountFinding(
            "copy-database",
            "error",
            f"the database {found.name} is {found.status}",
            "the copy connects to it, so the deploy would wait and fail",
            f"start it: aws rds start-db-instance --db-instance-identifier {found.name}",
        )
    here = look.export(look.test, "VpcId")
    if here and found.vpc:
        yield from _between(look, here, found, source.port if source else found.port or _POSTGRES)


def _between(look: Look, here: str, server: Server, port: int) -> Iterator[AccountFinding]:
    aws = look.aws
    if not aws.has_dns(here):
        yield AccountFinding(
            "copy-dns",
            "error",
            f"the VPC {here} of {look.test} resolves no names",
            "the tasks cannot find the database by its name",
            f"aws ec2 modify-vpc-attribute --vpc-id {here} --enable-dns-support",
        )
    if here != server.vpc:
        for missing in aws.missing_between(here, server.vpc):
            yield AccountFinding(
                "copy-route",
                "error",
                f"missing: {missing}",
                f"the copy does not reach {server.name} in {server.vpc} without it",
                f"make it ({_IN_STACK})",
            )
        if server.public and not aws.resolves(here, server.vpc):
            yield AccountFinding(
                "copy-dns",
                "error",
                f"in {here} the name of {server.name} leads to its public address",
                "the peering connection does not resolve names of that VPC, so the copy leaves the network",
                f"let the peering connection resolve names from the other VPC ({_IN_STACK})",
            )
    group = aws.resource(look.stack, "EnvironmentSecurityGroup")
    if not group or not server.groups:
        return
    if not aws.admits(server.groups, port, group, aws.addresses(here)):
        yield AccountFinding(
            "copy-security-group",
            "error",
            f"no rule of {server.name} ({', '.join(server.groups)}) admits tasks of {look.test} to {port}",
            "the connection would wait until it times out",
            f"admit the security group {group}: `ReachesStage: 'yes'` in copilot/environments/addons/"
            f"database.yml, or a rule of yours ({_IN_STACK})",
        )
    if not aws.lets_out(group, port, server.groups, aws.addresses(server.vpc)):
        yield AccountFinding(
            "copy-security-group",
            "error",
            f"no outgoing rule of {group} leads to port {port} of {server.name}",
            "the tasks' own security group does not let them out",
            "add such a rule, in the environment's manifest: network.vpc.security_group.egress",
        )


def _addresses(look: Look) -> tuple[Address | None, Address | None]:
    """Return the addresses of staging's database and of the copy's, where these are secrets of their own."""
    by_variable = _by_variable(look)
    names = {name: path for name, path in by_variable.items() if re.search("DATABASE_URL|DSN|DB_URL", name)}
    try:
        values = look.aws.parameter_values(sorted(set(names.values())))
    except UserError as error:
        look.session.report.say(f"(The addresses of the databases were not read: {error})")
        values = {}
    found = {name: address(values.get(path, "")) for name, path in names.items()}
    source = next((one for name, one in found.items() if one and _OF_STAGING.search(name)), None)
    target = next((one for name, one in found.items() if one and not _OF_STAGING.search(name)), None)
    return source, target


def _by_variable(look: Look) -> dict[str, str]:
    """Return the SSM parameter of each secret of the service in the test environment."""
    blocks = look.manifest.get("environments")
    block = blocks.get(look.test) if isinstance(blocks, dict) else None
    found: dict[str, str] = {}
    for holder in (look.manifest, block):
        given = holder.get("secrets") if isinstance(holder, dict) else None
        for name, path in (given or {}).items() if isinstance(given, dict) else ():
            if isinstance(path, str):
                filled = path.replace("${COPILOT_APPLICATION_NAME}", look.settings.app)
                found[str(name)] = filled.replace("${COPILOT_ENVIRONMENT_NAME}", look.test)
            else:
                found.pop(str(name), None)  # the environment has it from elsewhere
    return found


def _secret(look: Look, source: Address | None, target: Address | None) -> Iterator[AccountFinding]:
    if not any(_OF_STAGING.search(name) for name in _by_variable(look)):
        yield AccountFinding(
            "copy-secret",
            "warning",
            f"no secret of {look.test} is called after staging",
            "copy_stage_db reads staging's address from STAGE_DATABASE_URL",
            "name it in the manifest's block of the test environment "
            f"({documents.page('adopt.md#the-manifest')})",
        )
    if source and target and (source.host, source.name) == (target.host, target.name):
        yield AccountFinding(
            "copy-secret",
            "error",
            f"the secrets of {look.test} name one database as staging's and as its own",
            "a copy replaces its own database, and that is staging",
            f"give the test environment a database of its own ({documents.page('stack.md#tests-database')})",
        )


def _server(look: Look, source: Address | None, servers: list[Server]) -> Server | None:
    """Return staging's server: the one of the secret, else the only one in staging's network."""
    if source:
        return next((one for one in servers if source.host in one.hosts), None)
    networks = {look.export(name, "VpcId") for name in look.staging}
    own = [one for one in servers if one.vpc in networks]
    return own[0] if len(own) == 1 else None


def _unknown(look: Look, source: Address | None) -> Iterator[AccountFinding]:
    """Say that the server is not known, and judge the networks as far as that goes.

    The sandbox's databases are on no server of RDS.
    """
    if look.settings.target == "aws":
        yield AccountFinding(
            "copy-database",
            "warning",
            "staging's database server was not found in RDS",
            "no server of this account and region has the address of the secret"
            if source
            else "no secret that may be read has its address, and staging's network has not one server alone",
            "see yourself that its security group admits the test environment's tasks",
        )
    here = look.export(look.test, "VpcId")
    for name in look.staging:
        there = look.export(name, "VpcId")
        if here and there and here != there:
            for missing in look.aws.missing_between(here, there):
                yield AccountFinding(
                    "copy-route",
                    "error" if source is None else "warning",
                    f"missing: {missing}",
                    f"{name}'s database is not reached without it, if it is in {name}'s network",
                    f"make it ({_IN_STACK})",
                )


RULES = (copy,)
