"""The resources of an application with a domain: hosted zones, their records, and certificates.

None of them is served. No name server answers with the records, and no TLS listener opens a port. A listener
for HTTPS and its rules can only be described, and the redirects of the HTTP listener lead to no server.
This shows that Copilot sets up everything as on AWS.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, cast

from moto.acm.models import AWSCertificateManagerBackend, acm_backends
from moto.route53.exceptions import ResourceRecordAlreadyExists
from moto.route53.models import DelegationSet, FakeZone, Route53Backend, route53_backends

from .errors import ResourceFailed
from .resources import ACCOUNT, REGION, CreatedResource, Handler, ResourceSpec

MOST_NAMES = 10
"""Domain names on one certificate, AWS's default quota.

Source: https://docs.aws.amazon.com/acm/latest/userguide/acm-limits.html
"""


def _zones() -> Route53Backend:
    return route53_backends[ACCOUNT]["aws"]


def _certificates() -> AWSCertificateManagerBackend:
    return acm_backends[ACCOUNT][REGION]


def _full(name: str) -> str:
    """Return a domain in Route 53's form, with a final dot."""
    return name if name.endswith(".") else f"{name}."


class HostedZoneHandler(Handler):
    """AWS::Route53::HostedZone."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        comment = properties.get("HostedZoneConfig", {}).get("Comment")
        zone = _zones().create_hosted_zone(
            _full(properties["Name"]), private_zone="VPCs" in properties, comment=comment
        )
        servers = cast("DelegationSet", zone.delegation_set).name_servers
        return CreatedResource(zone.resource_id, {"Id": zone.resource_id, "NameServers": servers})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        return created if old["Name"] == spec.properties["Name"] else None

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        _zones().delete_hosted_zone(created.physical_id)


class RecordsHandler(Handler):
    """AWS::Route53::RecordSet and AWS::Route53::RecordSetGroup. Creating an existing record is an error."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        zone, records = _zone(spec.properties), _records(spec.properties)
        taken = {(record.name, record.type) for record in zone.rrsets}
        for name, type_ in records:
            if (name, type_) in taken:
                raise ResourceRecordAlreadyExists(name, type_)
        for record in records.values():
            zone.upsert_rrset(record)
        return CreatedResource(str(spec.properties.get("Name") or spec.name()))

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        before, after = _records(old), _records(spec.properties)
        zone = _zone(spec.properties)
        if _zone(old) is not zone:
            return None
        for record in after.values():
            zone.upsert_rrset(record)
        for key in before.keys() - after.keys():
            zone.delete_rrset(before[key])
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del created
        for record in _records(spec.properties).values():
            _zone(spec.properties).delete_rrset(record)


def _zone(properties: dict[str, Any]) -> FakeZone:
    if "HostedZoneId" in properties:
        return _zones().get_hosted_zone(properties["HostedZoneId"])
    zone = _zones().get_hosted_zone_by_name(_full(properties["HostedZoneName"]))
    if zone is None:
        raise ResourceFailed(f"No hosted zone named {properties['HostedZoneName']} found")
    return zone


def _records(properties: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the records of a set, or of a group of sets, by name and type."""
    records = {}
    for listed in properties.get("RecordSets", [properties]):
        record = {**listed, "Name": _full(listed["Name"])}
        if "AliasTarget" in record:
            record["AliasTarget"] = {"EvaluateTargetHealth": False, **record["AliasTarget"]}
        records[record["Name"], record["Type"]] = record
    return records


class AliasRecordsHandler(Handler):
    """Custom::CustomDomainFunction: the A records of an environment's aliases.

    Like Copilot's function, it overwrites an existing record, and ignores a missing one when it deletes. An
    alias outside the three zones gets no record. Source: github.com/aws/copilot-cli,
    cf-custom-resources/lib/custom-domain.js.
    """

    def create(self, spec: ResourceSpec) -> CreatedResource:
        for alias in _aliases(spec.properties):
            self._write(spec.properties, alias)
        return CreatedResource(spec.logical_id)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        wanted_aliases = _aliases(spec.properties)
        for alias in wanted_aliases:
            self._write(spec.properties, alias)
        for alias in _aliases(old):
            if alias not in wanted_aliases:
                self._delete(spec.properties, alias)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del created
        for alias in _aliases(spec.properties):
            self._delete(spec.properties, alias)

    def _write(self, properties: dict[str, Any], alias: str) -> None:
        zone = _zone_of(properties, alias)
        if zone is not None:
            zone.upsert_rrset(_alias_record(properties, alias))

    def _delete(self, properties: dict[str, Any], alias: str) -> None:
        """Delete the alias's record if it exists. As in Route 53, another target is an error."""
        zone, record = _zone_of(properties, alias), _alias_record(properties, alias)
        current = next(
            (
                record_set
                for record_set in (zone.rrsets if zone else ())
                if (record_set.name, record_set.type) == (record["Name"], "A")
            ),
            None,
        )
        if zone is None or current is None:
            return
        target = getattr(current, "alias_target", None) or {}
        if target.get("DNSName", "").rstrip(".") != record["AliasTarget"]["DNSName"].rstrip("."):
            raise ResourceFailed(
                f"InvalidChangeBatch: [Tried to delete resource record set [name='{alias}.', type='A'] "
                "but the values provided do not match the current values]"
            )
        zone.delete_rrset(record)


def _alias_record(properties: dict[str, Any], alias: str) -> dict[str, Any]:
    return {
        "Name": _full(alias),
        "Type": "A",
        "AliasTarget": {
            "HostedZoneId": properties["PublicAccessHostedZone"],
            "DNSName": properties["PublicAccessDNS"],
            "EvaluateTargetHealth": True,
        },
    }


def _zone_of(properties: dict[str, Any], alias: str) -> FakeZone | None:
    """Return the alias's zone, the environment's first; None if Copilot writes no record for it."""
    app = f"{properties['AppName']}.{properties['DomainName']}"
    for domain in (f"{properties['EnvName']}.{app}", app, properties["DomainName"]):
        if alias == domain or alias.partition(".")[2] == domain:
            zone = _zones().get_hosted_zone_by_name(_full(domain))
            if zone is None:
                raise ResourceFailed(f"Couldn't find any Hosted Zone with DNS name {domain}.")
            return zone
    return None


def _aliases(properties: dict[str, Any]) -> list[str]:
    """Return each alias once. The property is JSON with the aliases of each service."""
    aliases_by_service: dict[str, list[str]] = json.loads(properties.get("Aliases") or "{}")
    return list(dict.fromkeys(alias for names in aliases_by_service.values() for alias in names))


class CertificateHandler(Handler):
    """Custom::CertificateValidationFunction: an ACM certificate for an environment's domains, valid at once.

    On AWS a Lambda function of Copilot requests it and waits until the records that prove the ownership are
    visible. A change of aliases requests another certificate. Source: github.com/aws/copilot-cli,
    cf-custom-resources/lib/dns-cert-validator.js.
    """

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        names = _names(properties)
        if len(names) > MOST_NAMES:
            raise ResourceFailed(
                f"LimitExceededException: a certificate takes {MOST_NAMES} domain names, and {len(names)} "
                f"were asked for ({', '.join(names)})"
            )
        tags = {"copilot-application": properties["AppName"], "copilot-environment": properties["EnvName"]}
        arn = _certificates().request_certificate(
            names[0], uuid.uuid4().hex, names, [{"Key": key, "Value": value} for key, value in tags.items()]
        )
        _certificates().get_certificate(arn).status = "ISSUED"
        return CreatedResource(arn, {"Arn": arn})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        return created if _names(old) == _names(spec.properties) else None

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        _certificates().delete_certificate(created.physical_id)


def import_certificate(arn: str, names: Sequence[str]) -> None:
    """Put a valid stand-in in the place of a certificate of somebody's account."""
    backend = _certificates()
    if arn in backend._certificates:  # noqa: SLF001 - moto gives an imported certificate an ARN of its own
        return
    first = "certificate.invalid"  # a common name has 64 characters at most
    made = backend.request_certificate(first, uuid.uuid4().hex, [first, *names], [])
    certificate = backend._certificates.pop(made)  # noqa: SLF001 - as above
    certificate.arn, certificate.status = arn, "ISSUED"
    backend._certificates[arn] = certificate  # noqa: SLF001 - as above


def _names(properties: dict[str, Any]) -> list[str]:
    """Return the environment's own domain, its wildcard, and the services' aliases in the domain."""
    domain = properties["DomainName"]
    own = f"{properties['EnvName']}.{properties['AppName']}.{domain}"
    aliases = {alias for alias in _aliases(properties) if alias == domain or alias.endswith(f".{domain}")}
    return [own, f"*.{own}", *sorted(aliases - {own, f"*.{own}"})]
