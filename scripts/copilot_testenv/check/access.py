"""Rules on access to the test environment, and on the mail that it sends."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from copilot_testenv.check import running
from copilot_testenv.check.containers import in_file
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import Container, containers, pairs, properties, where
from copilot_testenv.copilot.templates import Template

BASIC_AUTH = "BASIC_AUTH"  # the variable or secret that turns basic auth on
_APP_RUNNER = "AWS::AppRunner::Service"
_WIDE = 8  # bits of a prefix; a range with a shorter prefix is the Internet rather than an office
_MAIL_SINKS = frozenset({"mailpit", "mailhog", "maildev"})
_BACKENDS = ("console", "dummy", "filebased", "locmem")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def reached(project: Project) -> Iterator[Finding]:
    """Find services that make the test environment public by accident."""
    for document, environment, template in _test(project):
        if not _is_public(template) or _has_password(project, document, environment, template):
            continue
        if not _is_app_runner(template) and _limited_by_environment(project, environment):
            continue
        keys = ("http", "allowed_source_ips")
        ranges = document.get(*document.nearest(environment, *keys))
        what = f"everybody on the Internet reaches this (in {environment})"
        if isinstance(ranges, list) and ranges:
            what = (
                f"everybody on the Internet reaches this, by {', '.join(map(str, ranges))} (in {environment})"
            )
        key = "private: true" if _is_app_runner(template) else "allowed_source_ips"
        place = f"`environments.{environment}`"
        instead = f"write `http.{key}` under {place}, or give the service a secret {BASIC_AUTH}"
        line = where(document, environment, *keys)
        yield Finding(document.path, line, "public", "warning", what, instead)


def mail(project: Project) -> Iterator[Finding]:
    """Find services whose mail may leave the test environment, where the data come from staging.

    Only services that run the project are examined: EMAIL_BACKEND has no effect on another program.
    """
    for document, environment, template in _test(project):
        found = containers(template)
        main = next((each for each in found if each.main), None)
        if main is None or not any(_runs_project(project, document, environment, each) for each in found):
            continue
        has_sink = any(each.repository in _MAIL_SINKS for each in found)
        given = {**in_file(project.root, document, environment, main), **main.variables, **main.secrets}
        if _keeps_mail(given, has_sink=has_sink):
            continue
        line = where(document, environment, "variables", "EMAIL_BACKEND")
        what = f"mail may leave this environment (in {environment})"
        instead = (
            f"write `EMAIL_BACKEND: django.core.mail.backends.console.EmailBackend` under "
            f"`environments.{environment}.variables`, or add a mailpit sidecar"
        )
        yield Finding(document.path, line, "mail", "warning", what, instead)


def _test(project: Project) -> Iterator[tuple[Document, str, Template]]:
    return (each for each in project.templates() if each[1] == project.settings.test_env)


def _is_public(template: Template) -> bool:
    """Return True if any address can reach the service.

    The service's own network load balancer accepts every address, and so does App Runner.
    """
    return any(
        _accepts_internet(resource.get("Type"), properties(template, name))
        for name, resource in template.resources.items()
    )


def _is_app_runner(template: Template) -> bool:
    """Return True for a Request-Driven Web Service, which has no load balancer."""
    return template.resources.get("Service", {}).get("Type") == _APP_RUNNER


def _accepts_internet(kind: object, given: Mapping[str, Any]) -> bool:
    if kind == "AWS::ElasticLoadBalancingV2::LoadBalancer":
        return given.get("Scheme") == "internet-facing"
    if kind == _APP_RUNNER:
        return (
            _at(given, "NetworkConfiguration", "IngressConfiguration").get("IsPubliclyAccessible")
            is not False
        )
    return (
        kind == "AWS::ElasticLoadBalancingV2::ListenerRule"
        # EnvControllerAction.HTTPListenerArn, or .InternalHTTPListenerArn
        and "Internal" not in str(given.get("ListenerArn"))
        and _serves(given)
        and _is_open(given)
    )


def _serves(rule: Mapping[str, Any]) -> bool:
    """Return True if the rule forwards requests, and does not only redirect them, as from HTTP to HTTPS."""
    actions = rule.get("Actions")
    return any(
        isinstance(each, dict) and each.get("Type") == "forward"
        for each in (actions if isinstance(actions, list) else ())
    )


def _is_open(rule: Mapping[str, Any]) -> bool:
    conditions = rule.get("Conditions")
    for each in conditions if isinstance(conditions, list) else ():
        limits = each.get("SourceIpConfig") if isinstance(each, dict) else None
        values = limits.get("Values") if isinstance(limits, dict) else None
        if isinstance(values, list) and values:
            return any(_is_wide(str(value)) for value in values)
    return True


def _is_wide(text: str) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).prefixlen < _WIDE
    except ValueError:
        return False  # Copilot refuses it


def _limited_by_environment(project: Project, environment: str) -> bool:
    """Return True if the environment's load balancer accepts only some addresses."""
    written = project.environments.get(environment)
    ranges = written.get("http", "public", "ingress", "source_ips") if written else None
    return isinstance(ranges, list) and bool(ranges) and not any(_is_wide(str(each)) for each in ranges)


def _has_password(project: Project, document: Document, environment: str, template: Template) -> bool:
    """Return True if the main container, or the load balancer's target that runs the project, has BASIC_AUTH.

    Other sidecars do not count: the load balancer does not reach them, or they do not read this variable.
    """
    given = _at(
        properties(template, "Service"), "SourceConfiguration", "ImageRepository", "ImageConfiguration"
    )
    variables = pairs(given.get("RuntimeEnvironmentVariables"), "Value")  # of App Runner
    if variables.get(BASIC_AUTH) or BASIC_AUTH in pairs(given.get("RuntimeEnvironmentSecrets"), "Value"):
        return True
    balancers = properties(template, "Service").get("LoadBalancers")
    targets = [
        each.get("ContainerName")
        for each in (balancers if isinstance(balancers, list) else ())
        if isinstance(each, dict)
    ]
    return any(
        (BASIC_AUTH in each.secrets or each.variables.get(BASIC_AUTH))
        and (each.main or (each.name in targets and _runs_project(project, document, environment, each)))
        for each in containers(template)
    )


def _runs_project(project: Project, document: Document, environment: str, container: Container) -> bool:
    return running.serves_project(running.steps(project.root, document, environment, container))


def _at(found: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = found.get(key)
        found = inner if isinstance(inner, dict) else {}
    return found


def _keeps_mail(variables: Mapping[str, Any], *, has_sink: bool) -> bool:
    """Return True if the mail backend sends nothing, or sends only to this task's mail sidecar."""
    backend = str(variables.get("EMAIL_BACKEND", ""))
    host = str(variables.get("EMAIL_HOST", "")).lower()
    return (
        any(f".{name}." in f".{backend.lower()}." for name in _BACKENDS)
        or host in _LOCAL
        or (has_sink and not host)
    )


RULES = (reached, mail)
