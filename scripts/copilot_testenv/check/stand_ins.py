"""Choose stand-ins for what a workspace does not say: CI's variables, the domain, certificates, topics.

Copilot asks AWS for these, or takes them from the environment of the process that deploys. None of them is a
mistake in the manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from copilot_testenv.branch_guard.branch_manifests import OWN_VARIABLES, filled
from copilot_testenv.check import schema
from copilot_testenv.check.document import Document
from copilot_testenv.copilot import aliases
from copilot_testenv.core import child_variables
from copilot_testenv.core.settings import Settings

_VARIABLE = re.compile(r"(?<!\\)\$\{([_a-zA-Z][_a-zA-Z0-9]*)\}")
_CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-4000-8000-000000000000"
# The AWS SDK in Copilot reads these. Source: aws/session/env_config.go of aws/aws-sdk-go
_OF_THE_SDK = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_SDK_LOAD_CONFIG", "AWS_SESSION_TOKEN", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"),
)
_DOMAIN = "example.com"
_LABELS = 2  # of the shortest domain
_NUMBERS = {"cpu": "256", "memory": "512", "port": "8080", "target_port": "8080", "ephemeral": "30"}
_VALUES = {"number": "1", "switch": "true", "duration": "10s"}

Variables = dict[str, str]


@dataclass(frozen=True)
class Found:
    """The answers that Copilot gets for a service in an environment: fields of `copilot_sandbox.stand_in`."""

    manifest: str
    domain: str
    names: tuple[str, ...]
    topics: tuple[tuple[str, str], ...]

    def fields(self) -> dict[str, Any]:
        return {
            "manifest": self.manifest,
            "domain": self.domain,
            "names": self.names,
            "topics": self.topics,
        }


def variables(documents: list[Document], settings: Settings) -> Variables:
    """Return a stand-in for each variable of CI, or of a person, that the manifests name.

    Its form is that of the value that the key wants. Variables in MANIFEST_VARIABLES keep their own value.
    """
    found: Variables = {}
    for document in documents:
        for name in _VARIABLE.findall(document.text):
            found.setdefault(name, f"{name.lower().replace('_', '-').strip('-')}-1")
        for entry in _entries(document):
            items = entry.value.value if isinstance(entry.value, yaml.SequenceNode) else [entry.value]
            for text in (item.value for item in items if isinstance(item, yaml.ScalarNode)):
                for named in _VARIABLE.finditer(text):
                    value = _of_place(entry, text, named)
                    found[named[1]] = value or found[named[1]]
    kept = {*OWN_VARIABLES, *settings.manifest_variables, *child_variables.BASE, *_OF_THE_SDK}
    return {name: value for name, value in found.items() if name not in kept}


def _entries(document: Document) -> list[schema.Entry]:
    kind = str(document.get("type") or "Environment")
    top = schema.read_of(kind)
    return schema.written(document, top) if top else []


def _of_place(entry: schema.Entry, text: str, named: re.Match[str]) -> str:
    """Return a stand-in for a variable in the value of this key; empty where any text will do."""
    key = str(entry.key.value)
    if key == "alias" or (entry.place[-1:] == ("alias",) and key == "name"):
        return _DOMAIN if named.end() == len(text) else ""
    if named[0] != text:
        return ""
    if key.startswith("certificate"):
        return _CERTIFICATE
    if key in _NUMBERS and entry.place[-1:] not in {("variables",), ("secrets",), ("labels",), ("args",)}:
        return _NUMBERS[key]
    if isinstance(entry.read, list) and isinstance(entry.value, yaml.ScalarNode):
        return '["stand-in"]'
    return _VALUES.get(entry.read, "") if isinstance(entry.read, str) else ""


def found(
    service: Document | None,
    environment: str,
    written: Document | None,
    values: Mapping[str, str],
    settings: Settings,
) -> Found:
    """Return what Copilot is to find for a service in an environment; `written` is that one's manifest.

    An environment without a manifest imports a certificate where the service needs one.
    """
    manifest = filled(written.text, values) if written else f"name: {environment}\ntype: Environment\n"
    if service is None:
        return Found(manifest, "", (), ())
    known = {**values, OWN_VARIABLES[0]: settings.app, OWN_VARIABLES[1]: environment}
    names = sorted({filled(alias.name, known) for alias in aliases.of(service.data, environment)})
    domain = _domain(names, environment, settings.app)
    if not written and names and (not domain or _wants_certificates(service, environment)):
        listed = f"{{certificates: [{_CERTIFICATE}]}}"
        manifest += f"http: {{public: {listed}, private: {listed}}}\n"
    if not domain and names:
        domain = _shortest(names[0])
    elif "redirect_to_https" in service.text:
        domain = domain or _DOMAIN  # Copilot takes this key only in an application that has a domain
    topics = sorted(set(subscribed(service.data, environment)))
    return Found(manifest, domain, tuple(names), tuple(topics))


def _wants_certificates(service: Document, environment: str) -> bool:
    """Return True where Copilot takes an alias only with an imported certificate."""
    if service.get("type") == "Backend Service":
        return True
    for section in (("http",), ("environments", environment, "http")):
        if "hosted_zone" in str(service.get(*section)):
            return True
    return False


def _domain(names: list[str], environment: str, application: str) -> str:
    """Return a domain of the application with which Copilot takes all these names; empty if there is none.

    Source: validateAliases in internal/pkg/cli/deploy/svc.go of aws/copilot-cli 1.34.
    """
    below = ("", f"{application}.", f"{environment}.{application}.")
    candidates = {
        parent.removeprefix(prefix)
        for name in names
        for parent in (name, name.partition(".")[2])
        for prefix in below
        if parent.startswith(prefix)
    }
    fitting = [
        domain
        for domain in candidates
        if domain.count(".") + 1 >= _LABELS
        and "*" not in domain
        and all(_is_below(name, domain, below) for name in names)
    ]
    return min(fitting, key=lambda domain: (len(domain), domain), default="")


def _is_below(name: str, domain: str, below: tuple[str, ...]) -> bool:
    return any(parent == prefix + domain for prefix in below for parent in (name, name.partition(".")[2]))


def _shortest(name: str) -> str:
    return ".".join(name.lstrip("*.").split(".")[-_LABELS:])


def subscribed(manifest: Mapping[str, Any], environment: str) -> Iterator[tuple[str, str]]:
    """Yield (service, topic) of each topic that a worker subscribes to, as one of both kinds."""
    blocks = manifest.get("environments")
    block = blocks.get(environment) if isinstance(blocks, dict) else None
    for holder in (manifest, block):
        section = holder.get("subscribe") if isinstance(holder, dict) else None
        topics = section.get("topics") if isinstance(section, dict) else None
        for topic in topics if isinstance(topics, list) else ():
            if isinstance(topic, dict) and isinstance(topic.get("name"), str):
                for end in ("", ".fifo"):
                    yield str(topic.get("service")), topic["name"] + end
