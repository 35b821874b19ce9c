"""Check CloudFormation templates with cfn-lint, and know the findings that Copilot itself causes.

cfn-lint comes with the sandbox (requirements-sandbox.txt). Importing it and loading its rules takes more than
a second, an environment's template two, and one resource of it a few tenths: most of that time goes to the
JSON schemas of the types in it. So a caller passes what is to be checked (`part`), and several processes
check only where there is a lot.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from copilot_testenv.core import child_variables
from copilot_testenv.core.errors import SettingsError

_SMALL = 300_000  # letters of all templates together
_NAMED = re.compile(r"\$\{([A-Za-z0-9]+)[.}]")  # a resource in the text of Fn::Sub
REGION = "us-east-1"  # has all resource types that Copilot's templates use


@dataclass(frozen=True, order=True)
class LintFinding:
    """A finding in a template; `path` are the keys to its place, joined by "/", and `line` counts from 1."""

    template: str
    line: int
    path: str
    rule: str
    severity: str  # error, warning or informational
    message: str

    @property
    def copilots_own(self) -> str | None:
        """The reason for Copilot's template at this place; None where the finding is not Copilot's own."""
        return next(
            (known.why for known in KNOWN if known.rule == self.rule and re.fullmatch(known.path, self.path)),
            None,
        )


@dataclass(frozen=True)
class Known:
    """A finding that every user of Copilot 1.34.1 has; `path` is a regular expression."""

    rule: str
    path: str
    why: str


# Seen on environments, and on services and jobs of each kind but Static Site and Request-Driven.
KNOWN = (
    Known(
        "W2001",
        "Parameters/(ContainerPort|HTTPSEnabled|NLBAliases|NLBPort|RulePath|TargetContainer|TargetPort|TaskCount)",
        "Copilot declares the parameters of the service's type whether or not this service uses them",
    ),
    Known(
        "W2001",
        "Parameters/(App|Env|Name)",
        "Copilot gives addons these parameters, so they declare them whether or not they use them",
    ),
    Known(
        "W8001",
        "Conditions/(ExposePort|HasAssociatedDomain)",
        "Copilot declares the conditions of the service's type whether or not this service uses them",
    ),
    Known(
        "W3005",
        "Resources/(CloudformationExecutionRole|DelegateDNSAction|EnvironmentManagerRole|HTTPSCert|TaskDefinition"
        "|.+SNSTopicPolicy|PipelineBuiltArtifactBucketPolicy)/DependsOn(/[0-9]+)?",
        "Copilot writes an order down that a reference already gives; it changes nothing",
    ),
    Known(
        "W3011",
        "Resources/(CloudformationExecutionRole|EnvironmentManagerRole)",
        "Copilot keeps these roles when the stack is deleted, for it deletes the stack with them; "
        "they are replaced only with their names",
    ),
    Known(
        "W3037",
        "Resources/(CustomResourceRole|DynamicDesiredCountFunctionRole|EnvironmentManagerRole)"
        "/Properties/Policies/0/.+/Action",
        "Copilot allows actions that IAM does not know (any more); they allow nothing",
    ),
    Known(
        "W1001",
        "Resources/HTTPSListener/Properties/Certificates/0/CertificateArn",
        "Copilot sets CreateHTTPSListener only where there is a certificate, which a condition cannot say",
    ),
    Known(
        "W1001",
        "Resources/TaskDefinition/Properties/ContainerDefinitions/.+/Value(From)?",
        "Copilot refers to the addons' outputs and always gives the addons with them",
    ),
    Known(
        "E3676",
        "Resources/InternalHTTPSListener/Properties",
        "Copilot makes this listener only where certificates are imported, and then names them",
    ),
    Known(
        "E3003",
        "Resources/TaskDefinition/Properties/ContainerDefinitions/[0-9]+",
        "the image of a sidecar is named when it has been built; packaging builds none",
    ),
    Known(
        "E3601",
        "Resources/StateMachine/Properties/DefinitionString/States/Run Fargate Task/Resource",
        "Copilot's state machine takes the partition by a substitution, which cfn-lint takes for text",
    ),
    Known(
        "W1020",
        "Resources/AccessPoint/Properties/RootDirectory/Path/Fn::Sub",
        "Copilot substitutes in a text whether or not it has variables",
    ),
)


def part(body: Mapping[str, Any], names: Collection[str]) -> str:
    """Return a template with these resources; of those that they refer to it has the type alone.

    It is the same text for all environments in which these resources are the same.
    """
    resources = body.get("Resources")
    if not isinstance(resources, dict):
        return json.dumps(body, sort_keys=True, default=str)
    wanted = {name: resources[name] for name in names if name in resources}
    stubs = {
        name: {"Type": resources[name].get("Type")}
        for name in _references(wanted)
        if name not in wanted and isinstance(resources.get(name), dict)
    }
    kept = {key: body[key] for key in ("Parameters", "Mappings", "Conditions", "Transform") if key in body}
    return json.dumps({**kept, "Resources": {**stubs, **wanted}}, sort_keys=True, default=str)


def _references(value: Any) -> Iterator[str]:
    """Yield each name that may be that of a resource: of Ref, Fn::GetAtt, Fn::Sub and DependsOn."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"Ref", "DependsOn", "Fn::GetAtt"}:
                listed = inner if isinstance(inner, list) else [inner]
                yield from (word.partition(".")[0] for word in listed if isinstance(word, str))
            yield from _references(inner)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, str):
        yield from _NAMED.findall(value)


def lint(texts: Mapping[str, str]) -> list[LintFinding]:
    """Return all findings in these templates, warnings too, sorted.

    Raises SettingsError where cfn-lint is not installed.
    """
    workers = min(len(texts), os.cpu_count() or 1)
    if workers < 2 or sum(map(len, texts.values())) < _SMALL:  # noqa: PLR2004 - a process costs more
        results = [_lint(*item) for item in texts.items()]
    else:
        import multiprocessing  # noqa: PLC0415 - rarely needed
        from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

        # Not forked: the caller may have threads, and a fork copies their locks in the locked state.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_remove_variables) as pool:
            results = list(pool.map(_lint, texts.keys(), texts.values()))
    return sorted(finding for findings in results for finding in findings)


def _remove_variables() -> None:
    """Remove all environment variables except the base ones: a linter needs none of the user's."""
    kept = child_variables.inherited()
    os.environ.clear()
    os.environ.update(kept)


def _lint(name: str, text: str) -> list[LintFinding]:
    runner, decode = _linter()
    template, matches = decode(text)
    matches = matches or runner.validate_template(template)
    return [
        LintFinding(
            name,
            match.linenumber,
            "/".join(str(key) for key in getattr(match, "path", None) or ()),
            match.rule.id,
            match.rule.severity,
            match.message,
        )
        for match in matches
    ]


@functools.cache
def _linter() -> tuple[Any, Any]:
    gc.disable()
    try:
        from cfnlint.config import ConfigMixIn  # noqa: PLC0415 - takes half a second
        from cfnlint.decode.decode import decode_str  # noqa: PLC0415
        from cfnlint.runner import Runner  # noqa: PLC0415

        # No .cfnlintrc is read, neither the folder's nor the user's: findings must not depend on it.
        return Runner(ConfigMixIn(["--config-file", os.devnull], regions=[REGION])), decode_str
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"cfn-lint is not installed ({error.name} is missing): pip install -r requirements-sandbox.txt."
        ) from error
    finally:
        gc.freeze()  # what is loaded stays: collections and the interpreter's end need not look at it
        gc.enable()
