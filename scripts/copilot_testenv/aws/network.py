"""Look up what lies between the networks of two environments."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from copilot_testenv.aws.calls import Calls

_OVERLAP = (
    "networks that overlap cannot be peered. New addresses mean a new VPC, so the environment has to be made "
    "anew with others in its manifest (network.vpc)"
)


class Network(Calls):
    """Look up VPCs, their peering and their routes in EC2."""

    def missing_between(self, here: str, there: str) -> list[str]:
        """Return what keeps two VPCs of this region from reaching each other; empty where nothing is missing.

        Security groups and DNS are not looked at.
        """
        ranges = {vpc["VpcId"]: vpc["CidrBlock"] for vpc in self._vpcs(here, there)}
        one, other = (ipaddress.ip_network(ranges[vpc]) for vpc in (here, there))
        if one.overlaps(other):
            return [f"other addresses: {here} has {one} and {there} has {other}, and {_OVERLAP}"]
        peering = self._peering({here, there})
        if peering is None:
            return [f"an active peering connection between {here} ({one}) and {there} ({other})"]
        return [
            f"a route to {target} over {peering} in the route tables of {vpc}"
            for vpc, target in ((here, other), (there, one))
            if not self._leads(vpc, peering)
        ]

    def _vpcs(self, *ids: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self._ask("ec2", "describe_vpcs", VpcIds=list(ids))["Vpcs"]
        return found

    def _peering(self, vpcs: set[str]) -> str | None:
        """Return the id of an active peering connection of the two."""
        for page in self._pages("ec2", "describe_vpc_peering_connections"):
            for peering in page["VpcPeeringConnections"]:
                ends = {peering[end]["VpcId"] for end in ("RequesterVpcInfo", "AccepterVpcInfo")}
                if ends == vpcs and peering["Status"]["Code"] == "active":
                    return str(peering["VpcPeeringConnectionId"])
        return None

    def _leads(self, vpc: str, peering: str) -> bool:
        """Return True if a route of the VPC leads over the peering connection."""
        pages = self._pages("ec2", "describe_route_tables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        return any(
            route.get("VpcPeeringConnectionId") == peering
            for page in pages
            for table in page["RouteTables"]
            for route in table["Routes"]
        )
