"""Handlers of an environment's data stores: RDS instances, ElastiCache, and their secrets."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from moto.rds.models import DBInstance, RDSBackend, rds_backends
from moto.secretsmanager.models import SecretsManagerBackend, secretsmanager_backends

from copilot_sandbox import model

from .errors import handler_failed
from .resources import ACCOUNT, REGION, CreatedResource, Handler, ResourceSpec

# Sources: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html, by property.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_PASSWORD = re.compile(r"[!#-.0-?A-~]{8,128}")
_FIXED = ("DBInstanceIdentifier", "DBName", "Engine", "MasterUsername", "StorageEncrypted")
_PORT = 5432


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
        _check(properties)
        identifier = str(properties.get("DBInstanceIdentifier") or spec.name(63)).lower()
        instance = _databases().create_db_instance(
            {
                "db_instance_identifier": identifier,
                "db_name": properties["DBName"],
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
        host = instance.address
        if self._servers:
            host = self._servers.database(
                properties["DBName"], properties["MasterUsername"], properties["MasterUserPassword"]
            )
        return {"Endpoint.Address": host, "Endpoint.Port": str(_PORT)}

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        properties = spec.properties
        if any(old.get(name) != properties.get(name) for name in _FIXED):
            return None
        _check(properties)
        _databases().modify_db_instance(created.physical_id, _changeable(spec))
        return CreatedResource(created.physical_id, self._address(created.model, properties), created.model)

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        """Delete the instance. The sandbox's database stays, as a snapshot would."""
        del spec
        _databases().delete_db_instance(created.physical_id, skip_final_snapshot=True)


def _changeable(spec: ResourceSpec) -> dict[str, Any]:
    properties = spec.properties
    return {
        "db_instance_class": properties["DBInstanceClass"],
        "engine_version": str(properties["EngineVersion"]),
        "allocated_storage": int(properties["AllocatedStorage"]),
        "storage_type": properties["StorageType"],
        "multi_az": _flag(properties, "MultiAZ"),
        "backup_retention_period": int(properties.get("BackupRetentionPeriod", 1)),
        "deletion_protection": _flag(properties, "DeletionProtection"),
        "tags": _tags(spec),
    }


def _check(properties: dict[str, Any]) -> None:
    for name in ("DBName", "MasterUsername"):
        if not _NAME.fullmatch(properties[name]):
            raise handler_failed(f"{name} must begin with a letter and contain only alphanumeric characters.")
    if not _PASSWORD.fullmatch(properties["MasterUserPassword"]):
        raise handler_failed(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters"
            " besides '/', '@', '\"', ' ' may be used."
        )


class CacheHandler(Handler):
    """AWS::ElastiCache::ReplicationGroup: the sandbox's own server, if it runs."""

    def __init__(self, servers: model.DataServers | None) -> None:
        self._servers = servers

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        if _flag(properties, "AutomaticFailoverEnabled") and str(properties["NumCacheClusters"]) == "1":
            # Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_CreateReplicationGroup.html
            raise handler_failed("NumCacheClusters must be at least 2 when automatic failover is enabled.")
        identifier = str(properties.get("ReplicationGroupId") or spec.name(40)).lower()
        host = f"master.{identifier}.{REGION}.cache.amazonaws.com"
        host = self._servers.cache() if self._servers else host
        return CreatedResource(identifier, {"PrimaryEndPoint.Address": host, "PrimaryEndPoint.Port": "6379"})


def handlers(servers: model.DataServers | None) -> dict[str, Handler]:
    """Return the handlers of this module, by resource type."""
    return {
        "AWS::ElastiCache::ReplicationGroup": CacheHandler(servers),
        "AWS::RDS::DBInstance": DatabaseHandler(servers),
        "AWS::RDS::DBSubnetGroup": Handler(),  # moto's has no id, and nothing refers to it
        "AWS::SecretsManager::Secret": SecretHandler(),
    }


def _flag(properties: dict[str, Any], name: str) -> bool:
    return str(properties.get(name, "false")).lower() == "true"


def _tags(spec: ResourceSpec) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in spec.tags().items() if not key.startswith("aws:")]
