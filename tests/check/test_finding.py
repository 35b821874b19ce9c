from __future__ import annotations

import json

from copilot_testenv.check.finding import Finding, as_github, as_gitlab

FINDING = Finding("copilot/web/manifest.yml", 7, "key", "error", "`prot` is no key", "write `port`")


def test_a_finding_is_one_line_with_file_line_fault_and_cure() -> None:
    assert str(FINDING) == "copilot/web/manifest.yml:7: key: `prot` is no key: write `port`"


def test_github_gets_a_command_that_nothing_in_the_text_can_end_or_extend() -> None:
    hostile = Finding("copilot/a,b/manifest.yml", 1, "x:y", "warning", "100%\n::error::gotcha", "none")
    assert as_github(FINDING) == (
        "::error file=copilot/web/manifest.yml,line=7,col=1,title=check%3A key::"
        "`prot` is no key: write `port`"
    )
    assert as_github(hostile) == (
        "::warning file=copilot/a%2Cb/manifest.yml,line=1,col=1,title=check%3A x%3Ay::"
        "100%25%0A::error::gotcha: none"
    )


def test_gitlab_gets_a_report_whose_fingerprints_outlive_a_shift_of_lines() -> None:
    moved = Finding(FINDING.path, 70, FINDING.rule, FINDING.severity, FINDING.what, FINDING.instead)
    other = Finding(FINDING.path, 7, FINDING.rule, "warning", "another", FINDING.instead)
    first, second, third = json.loads(as_gitlab([FINDING, moved, other]))
    assert first["fingerprint"] == second["fingerprint"] != third["fingerprint"]
    assert first["location"] == {"path": "copilot/web/manifest.yml", "lines": {"begin": 7}}
    assert (first["severity"], third["severity"]) == ("major", "minor")
    assert {"description", "check_name", "fingerprint", "severity", "location"} == set(first)
