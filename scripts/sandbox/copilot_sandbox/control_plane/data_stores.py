"""Handlers of an environment's data stores: RDS instances, ElastiCache, and their secrets."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from moto.rds.models import DBInstance, RDSBackend, rds_backends
from moto.secretsmanager.models import SecretsManagerBackend, secretsmanager_backends

from copilot_sandbox import model

from .errors import handler_failed
from .resources import ACCOUNT, REGION, CreatedResource, Handler, ResourceSpec
from .stacks import Resource
from .stores import secret_value, with_secrets

# Sources: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html, by property.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_PASSWORD = re.compile(r"[!#-.0-?A-~]{8,128}")
_FIXED = ("DBInstanceIdentifier", "DBName", "Engine", "MasterUsername", "StorageEncrypted")
_PORT, _MYSQL_PORT = 5432, 3306


def _secrets() -> SecretsManagerBackend:
    return secretsmanager_backends[ACCOUNT][REGION]


def _databases() -> RDSBackend:
    return rds_backends[ACCOUNT][REGION]


class SecretHandler(Handler):
    """AWS::SecretsManager::Secret, with a given value or one that is generated once."""

    takes_tags = True

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        value = _generate(properties) if "GenerateSecretString" in properties else properties["SecretString"]
        answer = _secrets().create_secret(
            name=str(properties.get("Name") or spec.name()),
            secret_string=value,
            secret_binary=None,
            description=properties.get("Description"),
            tags=_tags(spec),
            kms_key_id=None,
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        arn = json.loads(answer)["ARN"]
        return CreatedResource(arn, {"Id": arn})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        new, arn = spec.properties, created.physical_id
        if old.get("Name") != new.get("Name"):
            return None
        if "SecretString" in new:
            _put(arn, new["SecretString"])
        elif old.get("GenerateSecretString") != new["GenerateSecretString"]:
            _put(arn, _generate(new))
        _secrets().tag_resource(arn, {tag["Key"]: tag["Value"] for tag in _tags(spec)})
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        _secrets().delete_secret(
            created.physical_id, recovery_window_in_days=None, force_delete_without_recovery=True
        )


def _put(arn: str, value: str) -> None:
    _secrets().put_secret_value(
        arn,
        secret_string=value,
        secret_binary="",
        client_request_token=uuid.uuid4().hex,
        version_stages=["AWSCURRENT"],
    )


def _generate(properties: dict[str, Any]) -> str:
    options = properties["GenerateSecretString"]

    def flag(name: str, default: str) -> bool:
        return str(options.get(name, default)).lower() == "true"

    password = json.loads(
        _secrets().get_random_password(
            password_length=int(options.get("PasswordLength", 32)),
            exclude_characters=options.get("ExcludeCharacters", ""),
            exclude_numbers=flag("ExcludeNumbers", "false"),
            exclude_punctuation=flag("ExcludePunctuation", "false"),
            exclude_uppercase=flag("ExcludeUppercase", "false"),
            exclude_lowercase=flag("ExcludeLowercase", "false"),
            include_space=flag("IncludeSpace", "false"),
            require_each_included_type=flag("RequireEachIncludedType", "true"),
        )
    )["RandomPassword"]
    if "GenerateStringKey" not in options:
        return str(password)
    return json.dumps({**json.loads(options["SecretStringTemplate"]), options["GenerateStringKey"]: password})


class DatabaseHandler(Handler):
    """AWS::RDS::DBInstance: a database on the sandbox's own server, if it runs."""

    takes_tags = True

    def __init__(self, servers: model.DataServers | None) -> None:
        self._servers = servers

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        identifier = str(properties.get("DBInstanceIdentifier") or spec.name(63)).lower()
        if "DBClusterIdentifier" in properties:  # its database, user and address are the cluster's
            return CreatedResource(identifier, {"Endpoint.Address": identifier, "Endpoint.Port": str(_PORT)})
        _check(properties)
        instance = _databases().create_db_instance(
            {
                "db_instance_identifier": identifier,
                "db_name": _database_name(properties),
                "engine": properties["Engine"],
                "master_username": properties["MasterUsername"],
                "master_user_password": properties["MasterUserPassword"],
                "port": _PORT,
                "storage_encrypted": _flag(properties, "StorageEncrypted"),
                "publicly_accessible": _flag(properties, "PubliclyAccessible"),
                "vpc_security_group_ids": list(properties.get("VPCSecurityGroups", [])),
                **_changeable(spec),
            }
        )
        return CreatedResource(identifier, self._address(instance, properties), instance)

    def _address(self, instance: DBInstance, properties: dict[str, Any]) -> dict[str, Any]:
        return {
            "Endpoint.Address": _host(self._servers, properties, instance.address),
            "Endpoint.Port": str(_PORT),
        }

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        properties = spec.properties
        if any(old.get(name) != properties.get(name) for name in _FIXED):
            return None
        if created.model is None:
            return created
        _check(properties)
        _databases().modify_db_instance(created.physical_id, _changeable(spec))
        return CreatedResource(created.physical_id, self._address(created.model, properties), created.model)

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        """Delete the instance. The sandbox's database stays, as a snapshot would."""
        del spec
        if created.model is not None:
            _databases().delete_db_instance(created.physical_id, skip_final_snapshot=True)


class ClusterHandler(Handler):
    """AWS::RDS::DBCluster (Aurora): a database on the sandbox's own server, if it runs."""

    def __init__(self, servers: model.DataServers | None) -> None:
        self._servers = servers

    def create(self, spec: ResourceSpec) -> CreatedResource:
        identifier = str(spec.properties.get("DBClusterIdentifier") or spec.name(63)).lower()
        return CreatedResource(identifier, self._attributes(identifier, spec.properties))

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        properties = spec.properties
        fixed = ("DBClusterIdentifier", "DatabaseName", "Engine", "MasterUsername", "StorageEncrypted")
        if any(old.get(name) != properties.get(name) for name in fixed):
            return None
        return CreatedResource(created.physical_id, self._attributes(created.physical_id, properties))

    def _attributes(self, identifier: str, properties: dict[str, Any]) -> dict[str, Any]:
        _check(properties)
        default = f"{identifier}.cluster-sandbox.{REGION}.rds.amazonaws.com"
        host = _host(self._servers, properties, default)
        return {
            "DBClusterArn": f"arn:aws:rds:{REGION}:{ACCOUNT}:cluster:{identifier}",
            "Endpoint.Address": host,
            "Endpoint.Port": _port(properties),
            "ReadEndpoint.Address": host,
        }


class AttachmentHandler(Handler):
    """AWS::SecretsManager::SecretTargetAttachment: adds the database's address to the secret's JSON.

    In an environment of Copilot the secret leads to that environment's database, whatever the template calls
    it: two environments have databases and users of the same name on two servers, and here there is one.
    Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secrettargetattachment.html
    """

    def __init__(self, servers: model.DataServers | None, find: Callable[[str], Resource | None]) -> None:
        self._servers = servers
        self._find = find

    def create(self, spec: ResourceSpec) -> CreatedResource:
        self._attach(spec)
        return CreatedResource(str(spec.properties["SecretId"]))

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        del old
        self._attach(spec)
        return created

    def _attach(self, spec: ResourceSpec) -> None:
        secret, target = (str(spec.properties[name]) for name in ("SecretId", "TargetId"))
        database = self._find(target)
        if database is None:
            raise handler_failed(f"The database {target} does not exist.")
        properties = with_secrets(database.spec.properties)
        try:
            value = json.loads(secret_value(secret))
        except ValueError:
            raise handler_failed(f"The value of the secret {secret} is not JSON.") from None
        kind = "dbClusterIdentifier" if database.spec.type.endswith("Cluster") else "dbInstanceIdentifier"
        value |= {
            "engine": "postgres" if _is_postgres(properties) else "mysql",
            "host": database.created.attributes["Endpoint.Address"],
            "port": int(database.created.attributes["Endpoint.Port"]),
            "dbname": _database_name(properties),
            kind: target,
        }
        environment = spec.stack_tags.get("copilot-environment")
        if self._servers and environment and _is_postgres(properties):
            value |= self._servers.connection(environment)
        _put(secret, json.dumps(value))


def _host(servers: model.DataServers | None, properties: dict[str, Any], default: str) -> str:
    """Create the database if there is a server for it. Return its address."""
    if servers is None or not _is_postgres(properties) or "MasterUserPassword" not in properties:
        return default
    return servers.database(
        _database_name(properties), properties["MasterUsername"], properties["MasterUserPassword"]
    )


def _database_name(properties: dict[str, Any]) -> str:
    return str(properties.get("DBName") or properties.get("DatabaseName") or "postgres")


def _is_postgres(properties: dict[str, Any]) -> bool:
    return "postgres" in str(properties.get("Engine", ""))


def _port(properties: dict[str, Any]) -> str:
    return str(_PORT if _is_postgres(properties) else properties.get("Port", _MYSQL_PORT))


def _changeable(spec: ResourceSpec) -> dict[str, Any]:
    properties = spec.properties
    return {
        "db_instance_class": properties["DBInstanceClass"],
        "engine_version": str(properties.get("EngineVersion", "16")),
        "allocated_storage": int(properties.get("AllocatedStorage", 20)),
        "storage_type": properties.get("StorageType", "gp2"),
        "multi_az": _flag(properties, "MultiAZ"),
        "backup_retention_period": int(properties.get("BackupRetentionPeriod", 1)),
        "deletion_protection": _flag(properties, "DeletionProtection"),
        "tags": _tags(spec),
    }


def _check(properties: dict[str, Any]) -> None:
    for name in ("DBName", "DatabaseName", "MasterUsername"):
        if name in properties and not _NAME.fullmatch(properties[name]):
            raise handler_failed(f"{name} must begin with a letter and contain only alphanumeric characters.")
    password = properties.get("MasterUserPassword")
    if password is not None and not _PASSWORD.fullmatch(password):
        raise handler_failed(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters"
            " besides '/', '@', '\"', ' ' may be used."
        )


class CacheHandler(Handler):
    """The kinds of ElastiCache: the sandbox's own server, if it runs.

    Source: "Return values" of AWS::ElastiCache::ReplicationGroup, CacheCluster and ServerlessCache,
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_ElastiCache.html
    """

    def __init__(self, servers: model.DataServers | None, name: str, *endpoints: str) -> None:
        """Handle the kind whose property `name` is its identifier. `endpoints` are its attributes."""
        self._servers, self._name, self._endpoints = servers, name, endpoints

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        # A group of shards has NumNodeGroups and ReplicasPerNodeGroup instead.
        if _flag(properties, "AutomaticFailoverEnabled") and str(properties.get("NumCacheClusters")) == "1":
            # Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_CreateReplicationGroup.html
            raise handler_failed("NumCacheClusters must be at least 2 when automatic failover is enabled.")
        identifier = str(properties.get(self._name) or spec.name(40)).lower()
        host = f"master.{identifier}.{REGION}.cache.amazonaws.com"
        host = self._servers.cache() if self._servers else host
        values = {"Address": host, "Port": "6379", "Addresses": host, "Ports": "6379"}
        return CreatedResource(
            identifier, {each: values[each.rpartition(".")[2]] for each in self._endpoints}
        )


def handlers(servers: model.DataServers | None, find: Callable[[str], Resource | None]) -> dict[str, Handler]:
    """Return the handlers of this module, by resource type.

    `find` returns a resource of a stack by its physical id; None if it does not exist.
    """
    return {
        **_caches(servers),
        "AWS::RDS::DBCluster": ClusterHandler(servers),
        "AWS::RDS::DBClusterParameterGroup": Handler(),
        "AWS::RDS::DBInstance": DatabaseHandler(servers),
        "AWS::RDS::DBSubnetGroup": Handler(),  # moto's has no id, and nothing refers to it
        "AWS::SecretsManager::Secret": SecretHandler(),
        "AWS::SecretsManager::SecretTargetAttachment": AttachmentHandler(servers, find),
    }


def _caches(servers: model.DataServers | None) -> dict[str, Handler]:
    def endpoints(*names: str) -> list[str]:
        return [f"{name}.{part}" for name in names for part in ("Address", "Port")]

    group = endpoints("PrimaryEndPoint", "ConfigurationEndPoint", "ReaderEndPoint", "ReadEndPoint")
    group += ["ReadEndPoint.Addresses", "ReadEndPoint.Ports"]
    return {
        "AWS::ElastiCache::ReplicationGroup": CacheHandler(servers, "ReplicationGroupId", *group),
        "AWS::ElastiCache::CacheCluster": CacheHandler(
            servers, "ClusterName", *endpoints("RedisEndpoint", "ConfigurationEndpoint")
        ),
        "AWS::ElastiCache::ServerlessCache": CacheHandler(
            servers, "ServerlessCacheName", *endpoints("Endpoint", "ReaderEndpoint")
        ),
    }


def _flag(properties: dict[str, Any], name: str) -> bool:
    return str(properties.get(name, "false")).lower() == "true"


def _tags(spec: ResourceSpec) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in spec.tags().items() if not key.startswith("aws:")]
