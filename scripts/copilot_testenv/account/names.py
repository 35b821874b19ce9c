"""Rules on host names and certificates of the test environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from copilot_testenv.account.look import AccountFinding, Look
from copilot_testenv.copilot import aliases, application, manifest
from copilot_testenv.core import documents, workspace_files

_SOON = timedelta(days=30)


def _certificates(look: Look) -> list[str]:
    """Return the certificates that the environment's manifest imports."""
    file = workspace_files.environments(look.settings.root).get(look.test)
    value: Any = manifest.read(file) if file else None
    for key in ("http", "public", "certificates"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return [str(each) for each in value] if isinstance(value, list) else []


def covers(names: tuple[str, ...], host: str) -> bool:
    """Return True if a certificate with these names is valid for a host; a `*` stands for one label."""
    above = host.partition(".")[2]
    return host in names or f"*.{above}" in names


def certificate(look: Look) -> Iterator[AccountFinding]:
    """Find imported certificates that are not usable, and what they do not cover."""
    imported = _certificates(look)
    covered: tuple[str, ...] = ()
    for arn in imported:
        found = look.aws.certificate(arn)
        if found is None or found.status != "ISSUED":
            yield AccountFinding(
                "certificate",
                "error",
                f"the certificate {arn} is {found.status if found else 'not in this account and region'}",
                "the load balancer cannot use it, so the environment is not deployed",
                "import one that is issued, in http.public.certificates of the environment's manifest",
            )
            continue
        covered += found.names
        if found.ends and found.ends < datetime.now(UTC) + _SOON:
            yield AccountFinding(
                "certificate",
                "warning",
                f"the certificate {arn} ends on {found.ends:%Y-%m-%d}",
                "browsers refuse the page afterwards",
                "renew it: ACM does so by itself only where it made the certificate and finds its DNS record",
            )
    own = [alias.name for alias in aliases.of(look.manifest, look.test)]
    if imported and not own:
        yield AccountFinding(
            "alias",
            "error",
            f"{look.test} imports a certificate, and the service has no alias there",
            "Copilot then refuses to deploy the shared slot",
            f"write http.alias in the manifest below environments.{look.test}",
        )
    wanted = [*own, *([f"a-branch.{look.settings.test_domain}"] if look.settings.test_domain else [])]
    for host in wanted if covered else ():
        if not covers(covered, host):
            yield AccountFinding(
                "certificate",
                "error",
                f"no imported certificate is valid for {host.replace('a-branch', '*')}",
                "browsers refuse the page",
                "import one that has this name",
            )


def zone(look: Look) -> Iterator[AccountFinding]:
    """Find a hosted zone that does not fit TEST_DOMAIN, and branches that would have no host name."""
    settings = look.settings
    if settings.hosted_zone:
        domain = look.aws.zone(settings.hosted_zone)
        inside = domain and f".{settings.test_domain}".endswith(f".{domain}")
        if not inside:
            yield AccountFinding(
                "alias",
                "error",
                f"the hosted zone {settings.hosted_zone} is {domain or 'not in this account'}",
                f"Copilot cannot keep records of {settings.test_domain or 'TEST_DOMAIN'} in it",
                "set TEST_HOSTED_ZONE to the zone of TEST_DOMAIN",
            )
    elif settings.test_domain:
        yield AccountFinding(
            "alias",
            "warning",
            f"the records of {settings.test_domain} are not kept by Copilot",
            "the load balancer goes with its last service and comes back with another name, so a wildcard "
            "record leads nowhere after a weekend",
            f"set TEST_HOSTED_ZONE to the zone of TEST_DOMAIN ({documents.page('settings.md')})",
        )
    elif look.is_made and not application.domain(settings, look.aws) and settings.target == "aws":
        yield AccountFinding(
            "alias",
            "warning",
            f"the application {settings.app} has no domain, and TEST_DOMAIN is not set",
            "a branch with --isolated would have no host name; the shared slot has the load balancer's own, "
            "which changes with each teardown",
            f"import a wildcard certificate and set TEST_DOMAIN ({documents.page('branches.md')}), or use "
            "the shared slot",
        )


RULES = (certificate, zone)
