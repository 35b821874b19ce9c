"""What `check --account` asks AWS, asked of moto."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from copilot_testenv.aws import Aws, inventory

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """One account for all tests of this file: moto takes seconds to make one."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.delenv("AWS_PROFILE", raising=False)
        yield Aws({}, REGION)


@pytest.fixture
def groups(aws: Aws) -> tuple[str, str, str]:
    """A VPC, the security group of a database in it, and that of tasks."""
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    db, tasks = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        for name in ("db", "tasks")
    )
    return vpc, db, tasks


def allow(aws: Aws, group: str, **rule: Any) -> None:
    permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, **rule}
    aws.client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])


@pytest.mark.parametrize(
    ("rule", "admits"),
    [
        ({"UserIdGroupPairs": [{"GroupId": "tasks"}]}, True),
        ({"UserIdGroupPairs": [{"GroupId": "db"}]}, False),
        ({"IpRanges": [{"CidrIp": "10.1.0.0/16"}]}, True),
        ({"IpRanges": [{"CidrIp": "10.1.0.0/24"}]}, False),  # not all of the tasks
        ({"IpRanges": [{"CidrIp": "10.0.0.0/8"}], "FromPort": 5000, "ToPort": 6000}, True),
        ({"IpRanges": [{"CidrIp": "10.0.0.0/8"}], "FromPort": 3306, "ToPort": 3306}, False),
        ({"IpRanges": [{"CidrIp": "10.0.0.0/8"}], "IpProtocol": "udp"}, False),
    ],
)
def test_a_rule_admits_by_port_protocol_group_and_range(
    aws: Aws, groups: tuple[str, str, str], rule: dict[str, Any], *, admits: bool
) -> None:
    _, db, tasks = groups
    pairs = rule.get("UserIdGroupPairs")
    if pairs:
        ids = {"tasks": tasks, "db": db}
        rule = {"UserIdGroupPairs": [{"GroupId": ids[pair["GroupId"]]} for pair in pairs]}
    allow(aws, db, **rule)
    assert aws.admits([db], 5432, tasks, "10.1.0.0/16") is admits


def test_a_security_group_lets_all_out_unless_its_rule_was_taken_away(
    aws: Aws, groups: tuple[str, str, str]
) -> None:
    _, db, tasks = groups
    assert aws.lets_out(tasks, 5432, [db], "10.0.0.0/16")
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    aws.client("ec2").revoke_security_group_egress(GroupId=tasks, IpPermissions=everything)
    assert not aws.lets_out(tasks, 5432, [db], "10.0.0.0/16")


def test_a_database_server_is_in_the_network_of_its_security_group(
    aws: Aws, groups: tuple[str, str, str]
) -> None:
    vpc, db, _ = groups
    given: dict[str, Any] = {"Engine": "postgres", "MasterUsername": "boss", "MasterUserPassword": "x" * 12}
    rds, groups_of = aws.client("rds"), [db]
    rds.create_db_instance(
        DBInstanceIdentifier="one", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
        VpcSecurityGroupIds=groups_of, PubliclyAccessible=True, **given,
    )  # fmt: skip
    cluster = {**given, "Engine": "aurora-postgresql"}
    rds.create_db_cluster(DBClusterIdentifier="two", VpcSecurityGroupIds=groups_of, **cluster)
    found = {server.name: server for server in aws.database_servers()}
    assert {server.vpc for server in found.values()} == {vpc}
    assert {server.master for server in found.values()} == {"boss"}
    assert (found["one"].public, found["two"].public) == (True, False)
    assert found["one"].port == 5432
    assert found["two"].hosts


def test_names_resolve_over_a_peering_connection_only_where_its_end_says_so(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    here, there = (
        ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"] for block in ("10.1.0.0/16", "10.0.0.0/16")
    )
    made = ec2.create_vpc_peering_connection(VpcId=here, PeerVpcId=there)["VpcPeeringConnection"]
    name = made["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=name)
    assert not aws.resolves(here, there)
    ec2.modify_vpc_peering_connection_options(
        VpcPeeringConnectionId=name,
        AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True},
    )
    assert aws.resolves(here, there)
    assert aws.has_dns(here)
    assert len(aws.missing_between(here, there)) == 2  # no route
    assert aws.addresses(here) == "10.1.0.0/16"


def test_a_quota_that_aws_does_not_know_is_none(aws: Aws) -> None:
    assert aws.quota("vpc", inventory.INTERFACES)
    assert aws.quota("fargate", inventory.SPOT) is None
    assert aws.vcpus_in_use("Standard/Spot") is None


def test_rules_and_target_groups_of_a_load_balancer_are_counted(aws: Aws) -> None:
    ec2, elb = aws.client("ec2"), aws.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{n}.0/28", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
        for n, zone in enumerate("ab")
    ]
    ids = [each["SubnetId"] for each in subnets]
    assert [each.free for each in aws.subnets(ids)] == [11, 11]
    balancer = elb.create_load_balancer(Name="b", Subnets=ids)["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.create_target_group(Name="g", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]
    forward = [{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}]
    listener = elb.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward
    )["Listeners"][0]["ListenerArn"]
    host = [{"Field": "host-header", "Values": ["a.example.org"]}]
    elb.create_rule(ListenerArn=listener, Priority=1, Conditions=host, Actions=forward)
    assert aws.rules(balancer) == (1, 1)
    assert aws.balancer_limits()["rules-per-application-load-balancer"] == 100


def test_functions_log_groups_images_and_old_versions_are_found(aws: Aws) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("index.js", "")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},
                            "Action": "sts:AssumeRole"}], "Version": "2012-10-17"}  # fmt: skip
    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    for name in ("demo-test-Dns-A1", "other"):
        aws.client("lambda").create_function(
            FunctionName=name, Runtime="nodejs20.x", Role=role["Arn"], Handler="index.handler",
            Code={"ZipFile": archive.getvalue()},
        )  # fmt: skip
    assert aws.function_runtimes("demo-") == {"demo-test-Dns-A1": "nodejs20.x"}
    aws.client("logs").create_log_group(logGroupName="/copilot/demo-test-web")
    assert aws.log_groups("/copilot/demo-test-") == {"/copilot/demo-test-web": 0}
    assert aws.untagged_images("demo/web") == inventory.Amount()
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="bucket-of-demo", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="bucket-of-demo", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"123", b"4"):
        s3.put_object(Bucket="bucket-of-demo", Key="test-environments/x", Body=body)
    assert aws.old_versions("bucket-of-demo", "test-environments/") == inventory.Amount(1, 3)
    s3.delete_object(Bucket="bucket-of-demo", Key="test-environments/x")
    assert aws.old_versions("bucket-of-demo", "test-environments/") == inventory.Amount(3, 4)


def test_certificates_and_zones_that_are_not_there_are_none(aws: Aws) -> None:
    arn = f"arn:aws:acm:{REGION}:123456789012:certificate/12345678-1234-1234-1234-123456789012"
    assert aws.certificate(arn) is None
    made = aws.client("acm").request_certificate(
        DomainName="example.org", SubjectAlternativeNames=["*.example.org"]
    )["CertificateArn"]
    found = aws.certificate(made)
    assert found
    assert found.names == ("*.example.org", "example.org")
    assert aws.zone("ZNONE") is None
    zone = aws.client("route53").create_hosted_zone(Name="example.org.", CallerReference="1")["HostedZone"]
    assert aws.zone(zone["Id"].rpartition("/")[2]) == "example.org"
