"""A rule's finding, as a line of text, JSON, or an annotation for GitHub or GitLab."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal
from urllib.parse import quote

Severity = Literal["error", "warning"]


@dataclass(frozen=True, order=True)
class Finding:
    """An error or warning. `path` is relative to the repository, `line` and `column` are from 1.

    `instead` is the fix.
    """

    path: str
    line: int
    rule: str
    severity: Severity
    what: str
    instead: str
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.what}: {self.instead}"


def in_environments(found: Iterable[tuple[str, Finding]]) -> Iterator[Finding]:
    """Yield each finding once, with the names of the environments in which it holds."""
    environments: dict[Finding, list[str]] = {}
    for environment, finding in found:
        environments.setdefault(finding, []).append(environment)
    for finding, names in environments.items():
        yield replace(finding, what=f"{finding.what} (in {', '.join(dict.fromkeys(names))})")


def as_github(finding: Finding) -> str:
    """Return the finding as a workflow command; GitHub shows it beside the line.

    Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    title, path = _property(f"check: {finding.rule}"), _property(finding.path)
    return (
        f"::{finding.severity} file={path},line={finding.line},col={finding.column},title={title}::"
        f"{_data(f'{finding.what}: {finding.instead}')}"
    )


def as_gitlab(findings: Iterable[Finding]) -> str:
    """Return the findings as a Code Quality report, for `artifacts: reports: codequality`.

    Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
    """
    return json.dumps(
        [
            {
                "description": f"{finding.what}: {finding.instead}",
                "check_name": finding.rule,
                # The line is left out: a finding stays the same when lines above it come and go.
                "fingerprint": hashlib.sha256(
                    f"{finding.path}\0{finding.rule}\0{finding.what}".encode()
                ).hexdigest(),
                "severity": "major" if finding.severity == "error" else "minor",
                "location": {"path": finding.path, "lines": {"begin": finding.line}},
            }
            for finding in findings
        ],
        indent=2,
    )


def as_sarif(findings: Iterable[Finding]) -> str:
    """Return the findings as SARIF 2.1.0, which editors and GitHub's code scanning read.

    Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
    """
    found = list(findings)
    results = [
        {
            "ruleId": one.rule,
            "level": one.severity,
            "message": {"text": f"{one.what}: {one.instead}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(one.path)},
                        "region": {"startLine": one.line, "startColumn": one.column},
                    }
                }
            ],
        }
        for one in found
    ]
    rules = [{"id": rule} for rule in sorted({one.rule for one in found})]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "copilot-testenv check", "rules": rules}}, "results": results}],
    }
    return json.dumps(document, indent=2)


def as_documents(findings: Iterable[Finding]) -> list[dict[str, object]]:
    return [asdict(finding) for finding in findings]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
