"""Look up what lies between the tasks of an environment and a database: networks, addresses, rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from copilot_testenv.aws.calls import Calls

_OVERLAP = (
    "networks that overlap cannot be peered. New addresses mean a new VPC, so the environment has to be made "
    "anew with others in its manifest (network.vpc)"
)


@dataclass(frozen=True)
class Server:
    """A database server of RDS, in the VPC of its security groups.

    `hosts` are its names; `public` is true if they have a public address outside of its VPC.
    """

    name: str
    hosts: tuple[str, ...]
    port: int
    vpc: str
    groups: tuple[str, ...]  # ids of its security groups
    master: str
    status: str
    public: bool


@dataclass(frozen=True)
class Subnet:
    """A subnet with the number of its addresses that are free."""

    id: str
    free: int


class Network(Calls):
    """Look up VPCs, their peering and their routes in EC2, and the database servers in them."""

    def missing_between(self, here: str, there: str) -> list[str]:
        """Return what keeps two VPCs of this region from reaching each other; empty where nothing is missing.

        Security groups and DNS are not looked at.
        """
        ranges = {vpc: ipaddress.ip_network(self.addresses(vpc)) for vpc in (here, there)}
        one, other = ranges[here], ranges[there]
        if one.overlaps(other):
            return [f"other addresses: {here} has {one} and {there} has {other}, and {_OVERLAP}"]
        peering = self._peering({here, there})
        if peering is None:
            return [f"an active peering connection between {here} ({one}) and {there} ({other})"]
        return [
            f"a route to {target} over {peering['VpcPeeringConnectionId']} in the route tables of {vpc}"
            for vpc, target in ((here, other), (there, one))
            if not self._leads(vpc, peering["VpcPeeringConnectionId"])
        ]

    def addresses(self, vpc: str) -> str:
        """Return the VPC's range of addresses."""
        return str(self._ask("ec2", "describe_vpcs", VpcIds=[vpc])["Vpcs"][0]["CidrBlock"])

    def _peering(self, vpcs: set[str]) -> Mapping[str, Any] | None:
        """Return an active peering connection of the two."""
        for page in self._pages("ec2", "describe_vpc_peering_connections"):
            for peering in page["VpcPeeringConnections"]:
                ends = {peering[end]["VpcId"] for end in ("RequesterVpcInfo", "AccepterVpcInfo")}
                if ends == vpcs and peering["Status"]["Code"] == "active":
                    found: Mapping[str, Any] = peering
                    return found
        return None

    def _leads(self, vpc: str, peering: str) -> bool:
        """Return True if a route of the VPC leads over the peering connection."""
        pages = self._pages("ec2", "describe_route_tables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        return any(
            route.get("VpcPeeringConnectionId") == peering and route.get("State", "active") == "active"
            for page in pages
            for table in page["RouteTables"]
            for route in table["Routes"]
        )

    def resolves(self, here: str, there: str) -> bool:
        """Return True if names of the VPC `there` have their private addresses in the VPC `here`.

        Source: https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-dns.html
        """
        peering = self._peering({here, there})
        ends = (peering[end] for end in ("RequesterVpcInfo", "AccepterVpcInfo")) if peering else ()
        return any(
            end["VpcId"] == there
            and end.get("PeeringOptions", {}).get("AllowDnsResolutionFromRemoteVpc") is True
            for end in ends
        )

    def has_dns(self, vpc: str) -> bool:
        """Return True if the VPC has a resolver for names."""
        answer = self._ask("ec2", "describe_vpc_attribute", VpcId=vpc, Attribute="enableDnsSupport")
        return bool(answer["EnableDnsSupport"]["Value"])

    def admits(self, groups: Sequence[str], port: int, source: str, addresses: str) -> bool:
        """Return True if a security group lets TCP in on a port, from a security group or a range.

        A prefix list counts as one that does: what it holds is not looked at.
        """
        found = self._ask("ec2", "describe_security_groups", GroupIds=list(groups))["SecurityGroups"]
        return any(_lets(rule, port, {source}, addresses) for each in found for rule in each["IpPermissions"])

    def lets_out(self, group: str, port: int, groups: Sequence[str], addresses: str) -> bool:
        """Return True if a security group lets TCP out to a port of some security groups or of a range."""
        (found,) = self._ask("ec2", "describe_security_groups", GroupIds=[group])["SecurityGroups"]
        return any(_lets(rule, port, set(groups), addresses) for rule in found["IpPermissionsEgress"])

    def subnets(self, ids: Sequence[str]) -> list[Subnet]:
        """Return these subnets."""
        answer = self._ask("ec2", "describe_subnets", SubnetIds=list(ids))
        return [Subnet(each["SubnetId"], int(each["AvailableIpAddressCount"])) for each in answer["Subnets"]]

    def database_servers(self) -> list[Server]:
        """Return the instances and clusters of RDS in this account and region."""
        instances = self._all("rds", "describe_db_instances", "DBInstances")
        public = {each["DBInstanceIdentifier"] for each in instances if each.get("PubliclyAccessible")}
        servers = []
        for each in instances:
            endpoint = each.get("Endpoint", {})
            name = each["DBInstanceIdentifier"]
            servers.append(
                _server(each, name, [endpoint.get("Address")], endpoint.get("Port"), public=name in public)
            )
        for each in self._all("rds", "describe_db_clusters", "DBClusters"):
            members = {member["DBInstanceIdentifier"] for member in each.get("DBClusterMembers", ())}
            hosts, name = [each.get("Endpoint"), each.get("ReaderEndpoint")], each["DBClusterIdentifier"]
            servers.append(_server(each, name, hosts, each.get("Port"), public=bool(members & public)))
        groups = sorted({group for server in servers for group in server.groups})
        homes = {}
        if groups:
            # By a filter, for which a group that is gone is no error.
            wanted = [{"Name": "group-id", "Values": groups}]
            described = self._all("ec2", "describe_security_groups", "SecurityGroups", Filters=wanted)
            homes = {each["GroupId"]: each.get("VpcId", "") for each in described}
        return [replace(one, vpc=homes.get(one.groups[0], "") if one.groups else "") for one in servers]

    def _all(self, service: str, operation: str, key: str, /, **arguments: Any) -> list[dict[str, Any]]:
        """Return the items of all pages of an answer."""
        return [each for page in self._pages(service, operation, **arguments) for each in page[key]]


def _server(
    found: Mapping[str, Any], name: str, hosts: Sequence[str | None], port: object, *, public: bool
) -> Server:
    return Server(
        name,
        tuple(host for host in hosts if host),
        int(str(port or 0)),
        "",
        tuple(group["VpcSecurityGroupId"] for group in found.get("VpcSecurityGroups", ())),
        found.get("MasterUsername", ""),
        str(found.get("DBInstanceStatus") or found.get("Status") or ""),
        public,
    )


def _lets(rule: Mapping[str, Any], port: int, groups: set[str], addresses: str) -> bool:
    """Return True if a rule of a security group allows TCP on a port with a group or a whole range."""
    if rule["IpProtocol"] not in {"tcp", "6", "-1"}:
        return False
    if rule["IpProtocol"] != "-1" and not rule.get("FromPort", 0) <= port <= rule.get("ToPort", 65535):
        return False
    named = {pair.get("GroupId") for pair in rule.get("UserIdGroupPairs", ())}
    return bool(rule.get("PrefixListIds")) or bool(groups & named) or any(_around(rule, addresses))


def _around(rule: Mapping[str, Any], addresses: str) -> Iterator[bool]:
    """Yield True for each range of the rule that contains these addresses."""
    wanted = ipaddress.ip_network(addresses)
    for each in rule.get("IpRanges", ()):
        allowed = ipaddress.ip_network(each["CidrIp"], strict=False)
        if isinstance(allowed, ipaddress.IPv4Network) and isinstance(wanted, ipaddress.IPv4Network):
            yield wanted.subnet_of(allowed)
