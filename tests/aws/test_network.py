"""What is missing between the networks of two environments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from copilot_testenv.aws import Aws

HERE, THERE, PEERING = "vpc-test", "vpc-stage", "pcx-1"


@dataclass
class Ec2(Aws):
    """Two VPCs, their addresses, the state of their peering, and the VPCs that have a route over it."""

    ranges: dict[str, str] = field(default_factory=lambda: {HERE: "10.1.0.0/16", THERE: "10.0.0.0/16"})
    peering: str = ""
    routed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__init__({})

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        assert (service, operation) == ("ec2", "describe_vpcs")
        return {"Vpcs": [{"VpcId": vpc, "CidrBlock": self.ranges[vpc]} for vpc in arguments["VpcIds"]]}

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        assert service == "ec2"
        if operation == "describe_vpc_peering_connections":
            ends = {"RequesterVpcInfo": {"VpcId": THERE}, "AccepterVpcInfo": {"VpcId": HERE}}
            found = [{**ends, "Status": {"Code": self.peering}, "VpcPeeringConnectionId": PEERING}]
            yield {"VpcPeeringConnections": found if self.peering else []}
        else:
            (vpc,) = arguments["Filters"][0]["Values"]
            routes = [{"GatewayId": "local"}]
            routes += [{"VpcPeeringConnectionId": PEERING}] if vpc in self.routed else []
            yield {"RouteTables": [{"Routes": routes}]}


@pytest.mark.parametrize(
    ("network", "missing"),
    [
        (Ec2(ranges={HERE: "10.0.0.0/16", THERE: "10.0.0.0/16"}), ["other addresses"]),
        (Ec2(), ["an active peering connection between vpc-test (10.1.0.0/16)"]),
        (Ec2(peering="pending-acceptance"), ["an active peering connection"]),
        (
            Ec2(peering="active"),
            ["a route to 10.0.0.0/16 over pcx-1 in the route tables of vpc-test", "a route to 10.1.0.0/16"],
        ),
        (Ec2(peering="active", routed=(HERE,)), ["a route to 10.1.0.0/16 over pcx-1"]),
        (Ec2(peering="active", routed=(HERE, THERE)), []),
    ],
)
def test_what_keeps_two_networks_apart_is_named(network: Ec2, missing: list[str]) -> None:
    found = network.missing_between(HERE, THERE)
    assert len(found) == len(missing)
    assert all(each.startswith(begin) for each, begin in zip(found, missing, strict=True))
