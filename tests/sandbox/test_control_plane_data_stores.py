"""Databases, caches and secrets of the embedded AWS, by CloudFormation and boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from copilot_sandbox.control_plane import ControlPlaneServer, stores
from tests.sandbox.cloud import Agent, Cloud, template

URL = "postgres://app:{{resolve:secretsmanager:${Password}:SecretString:password}}@${Database.Endpoint.Address}/app"


class Servers:
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def database(self, name: str, user: str, password: str) -> str:
        self.asked.append((name, user, password))
        return "here"

    def connection(self, environment: str) -> dict[str, Any]:
        return {"dbname": environment, "username": "own"}

    def cache(self) -> str:
        return "127.0.0.9"


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def cloud(tmp_path: Path, servers: Servers) -> Iterator[Cloud]:
    agent = Agent()
    plane = ControlPlaneServer(0, tmp_path / "state", agent, len, servers)
    plane.start()
    try:
        yield Cloud(plane, agent)
    finally:
        plane.stop()


def password(**more: Any) -> dict[str, Any]:
    told = {"SecretStringTemplate": "{}", "GenerateStringKey": "password", "ExcludePunctuation": True, **more}
    return {"Type": "AWS::SecretsManager::Secret", "Properties": {"GenerateSecretString": told}}


def stack(**more: Any) -> dict[str, Any]:
    """A database with a password made up and its URL; `more` are the database's properties."""
    properties = {
        "Engine": "postgres",
        "EngineVersion": "18",
        "DBInstanceClass": "db.t4g.micro",
        "AllocatedStorage": "20",
        "StorageType": "gp3",
        "DBName": "app",
        "MasterUsername": "app",
        "MasterUserPassword": {"Fn::Sub": "{{resolve:secretsmanager:${Password}:SecretString:password}}"},
        **more,
    }
    return template(
        {
            "Password": password(PasswordLength=40),
            "Database": {"Type": "AWS::RDS::DBInstance", "Properties": properties},
            "URL": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {
                    "SecretString": {"Fn::Sub": URL},
                    "Tags": [{"Key": "copilot-application", "Value": "demo"}],
                },
            },
        }
    )


def test_a_database_is_reached_by_the_url_that_the_stack_keeps_as_a_secret(
    cloud: Cloud, servers: Servers
) -> None:
    assert cloud.create(stack()) == "CREATE_COMPLETE"
    ids = cloud.ids()
    ((name, user, secret),) = servers.asked
    assert (name, user, len(secret), secret.isalnum()) == ("app", "app", 40, True)
    assert cloud.plane.secret(ids["URL"]) == f"postgres://app:{secret}@here/app"
    assert json.loads(cloud.plane.secret(ids["Password"])) == {"password": secret}
    assert cloud.plane.secret(f"{ids['Password']}:password::") == secret
    for missing in (f"{ids['Password']}:user::", f"{ids['URL']}:user::", f"{ids['URL']}x"):
        with pytest.raises(KeyError):
            cloud.plane.secret(missing)
    described = cloud.client("secretsmanager").describe_secret(SecretId=ids["URL"])
    assert {"Key": "copilot-application", "Value": "demo"} in described["Tags"]
    assert secret not in json.dumps(cloud.stacks.describe_stack_events(StackName="s"), default=str)


def test_a_size_is_changed_in_place_and_the_password_stays(cloud: Cloud, servers: Servers) -> None:
    cloud.create(stack())
    before = cloud.ids()
    assert cloud.update(stack(DBInstanceClass="db.m7g.large", MultiAZ="true")) == "UPDATE_COMPLETE"
    assert cloud.ids() == before
    (found,) = cloud.client("rds").describe_db_instances()["DBInstances"]
    assert (found["DBInstanceClass"], found["MultiAZ"]) == ("db.m7g.large", True)
    assert len(set(servers.asked)) == 1


def test_another_password_reaches_the_database_and_the_url(cloud: Cloud, servers: Servers) -> None:
    wanted = stack()
    cloud.create(wanted)
    ids = cloud.ids()
    wanted["Resources"]["Password"] = password(PasswordLength=50)
    wanted["Resources"]["Database"]["Properties"]["BackupRetentionPeriod"] = 1
    wanted["Resources"]["URL"]["Properties"]["SecretString"]["Fn::Sub"] = f"{URL}?"
    assert cloud.update(wanted) == "UPDATE_COMPLETE"
    assert cloud.ids() == ids
    (_, _, secret) = servers.asked[-1]
    assert len(secret) == 50
    assert cloud.plane.secret(ids["URL"]) == f"postgres://app:{secret}@here/app?"


def test_another_name_is_another_database(cloud: Cloud) -> None:
    wanted = stack()
    wanted["Resources"]["URL"]["Properties"]["Name"] = "url"
    cloud.create(wanted)
    before = cloud.ids()
    changed = stack(DBName="other")
    changed["Resources"]["URL"]["Properties"]["Name"] = "link"
    assert cloud.update(changed) == "UPDATE_COMPLETE"
    after = cloud.ids()
    assert {name for name in after if after[name] != before[name]} == {"Database", "URL"}
    assert len(cloud.client("rds").describe_db_instances()["DBInstances"]) == 1


def test_a_protected_database_is_not_deleted_until_it_no_longer_is(cloud: Cloud) -> None:
    cloud.create(stack(DeletionProtection="true"))
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.settled("s") == "DELETE_FAILED"
    assert "Cannot delete protected DB Instance" in cloud.reason("Database", "DELETE_FAILED")
    cloud.client("rds").modify_db_instance(
        DBInstanceIdentifier=cloud.ids()["Database"], DeletionProtection=False
    )
    cloud.stacks.delete_stack(StackName="s")
    with pytest.raises(ClientError, match="does not exist"):
        cloud.settled("s")
    assert cloud.client("secretsmanager").list_secrets()["SecretList"] == []


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"DBName": "my-app"}, "DBName must begin with a letter"),
        ({"MasterUsername": "1app"}, "MasterUsername must begin with a letter"),
        ({"MasterUserPassword": "a/slash-is-none"}, "is not a valid password"),
        ({"MasterUserPassword": "short"}, "is not a valid password"),
        ({"MasterUserPassword": "{{resolve:secretsmanager:none:SecretString:x}}"}, "Could not find a value"),
        ({"MasterUserPassword": "{{resolve:ssm-secure:/none:1}}"}, "Unable to fetch parameters [/none]"),
        ({"MasterUserPassword": "{{resolve:other:none}}"}, "cannot resolve"),
    ],
)
def test_what_rds_refuses_is_refused(cloud: Cloud, properties: dict[str, str], why: str) -> None:
    assert cloud.create(stack(**properties)) == "ROLLBACK_COMPLETE"
    assert why in cloud.reason("Database", "CREATE_FAILED")


def test_a_cache_is_where_its_server_is_and_fails_over_with_two_nodes_only(cloud: Cloud) -> None:
    def wanted(nodes: str) -> dict[str, Any]:
        properties = {"NumCacheClusters": nodes, "AutomaticFailoverEnabled": "true"}
        cache = {"Type": "AWS::ElastiCache::ReplicationGroup", "Properties": properties}
        address = {"Fn::GetAtt": ["Cache", "PrimaryEndPoint.Address"]}
        return template({"Cache": cache}, Outputs={"Address": {"Value": address}})

    assert cloud.create(wanted("2")) == "CREATE_COMPLETE"
    assert cloud.outputs() == {"Address": "127.0.0.9"}
    assert cloud.create(wanted("1"), "other") == "ROLLBACK_COMPLETE"
    assert "at least 2" in cloud.reason("Cache", "CREATE_FAILED", "other")


@pytest.mark.parametrize(
    ("kind", "properties", "attribute"),
    [
        (
            "ReplicationGroup",
            {"NumNodeGroups": 1, "ReplicasPerNodeGroup": 1, "AutomaticFailoverEnabled": True},
            "ConfigurationEndPoint.Address",
        ),
        ("CacheCluster", {"Engine": "redis", "NumCacheNodes": 1}, "RedisEndpoint.Address"),
        ("ServerlessCache", {"Engine": "valkey", "ServerlessCacheName": "shop"}, "Endpoint.Address"),
    ],
)
def test_each_kind_of_cache_is_where_the_server_is(
    cloud: Cloud, kind: str, properties: dict[str, Any], attribute: str
) -> None:
    cache = {"Type": f"AWS::ElastiCache::{kind}", "Properties": properties}
    address = {"Value": {"Fn::GetAtt": ["Cache", attribute]}}
    assert cloud.create(template({"Cache": cache}, Outputs={"Address": address})) == "CREATE_COMPLETE"
    assert cloud.outputs() == {"Address": "127.0.0.9"}


_ARN = "arn:aws:secretsmanager:us-east-1:1:secret:db-AbCd12"


@pytest.mark.parametrize(
    ("reference", "asked"),
    [
        ("shop/db", "shop/db|"),
        ("shop/db:SecretString:password", "shop/db|password"),
        ("shop/db::password", "shop/db|password"),
        ("shop/db:SecretString:password:AWSCURRENT", "shop/db|password"),
        (f"{_ARN}::password", f"{_ARN}|password"),
    ],
)
def test_a_dynamic_reference_is_read_in_each_form(
    reference: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "secret_value", lambda name, key: f"{name}|{key}")
    assert stores.with_secrets({"a": [f"{{{{resolve:secretsmanager:{reference}}}}}"]}) == {"a": [asked]}


@pytest.mark.parametrize(
    "reference", ["ssm:/shop/password", "ssm:/shop/password:1", "ssm-secure:/shop/password:1"]
)
def test_a_dynamic_reference_to_a_parameter_is_read(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "parameter_value", lambda name: f"value of {name}")
    assert stores.with_secrets(f"{{{{resolve:{reference}}}}}!") == "value of /shop/password!"
