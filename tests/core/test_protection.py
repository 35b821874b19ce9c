"""The one list of protected names, in all the places where it stands."""

from __future__ import annotations

import re

import pytest

from copilot_testenv.core import protection
from tests.ci_role import FOLDER
from tests.clone import ROOT


def test_the_shipped_copy_is_the_same() -> None:
    shipped = ROOT / "scripts/runtime/django_testenv/stage_copy/protection.py"
    assert shipped.read_bytes() == (ROOT / "scripts/copilot_testenv/core/protection.py").read_bytes()


def test_the_ci_role_is_denied_the_same_beginnings() -> None:
    policy = (FOLDER / "ci-role.json").read_text()
    for kind in ("stack/APP-", "role/APP-", "parameter/copilot/APP/", "cluster/APP-"):
        found = re.findall(rf'{kind}(\w+)\*"', policy.replace("APP-ENV", ""))
        assert tuple(sorted(found)) == protection.DENIED


@pytest.mark.parametrize("file", ["docs/settings.md", ".env.example", "docs/iam.md"])
def test_each_beginning_is_documented(file: str) -> None:
    text = (ROOT / file).read_text()
    assert [word for word in protection.PREFIXES if f"{word}…" not in text] == []


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Prod_EU", "prod-eu"),
        ("pro\u200bd", "prod"),
        ("\u0440rod", "prod"),
        ("\u1d18\u0280\u1d0f\u1d05", "prod"),  # small capitals
        ("\uff30\uff32\uff2f\uff24", "prod"),
        ("pr\u00f6d", "prod"),
        ("stra\u00dfe", "strasse"),
        ("a.b/c d", "a-b-cd"),
        ("\u6d4b\u8bd5", "\u6d4b\u8bd5"),
    ],
)
def test_a_name_is_compared_in_its_plainest_spelling(name: str, folded: str) -> None:
    assert protection.folded(name) == folded


@pytest.mark.parametrize("file", ["docs/settings.md", ".env.example"])
def test_each_end_is_documented(file: str) -> None:
    text = (ROOT / file).read_text()
    assert [word for word in protection.ENDINGS if f"…{word}" not in text] == []


@pytest.mark.parametrize(
    ("name", "rule"), [("prod-eu", "prod…"), ("myshoplive", "…live"), ("customer-x", "customer"), ("qa", "")]
)
def test_the_rule_that_protects_a_name_is_told(name: str, rule: str) -> None:
    assert protection.protector(name, ["customer"]) == rule
