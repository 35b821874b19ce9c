"""What IAM policies say, by examples and against a plain matcher."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.testing.policies import Decision, Permission, arn_matches, decide, matches

STACK = "arn:aws:cloudformation:us-east-1:123456789012:stack/demo-test-web/1"
DELETE = "cloudformation:DeleteStack"


def policy(*statements: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Version": "2012-10-17", "Statement": list(statements)}]


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "*", "Resource": "*", **more}


def glob(pattern: str, text: str) -> bool:
    """The same as `matches`, letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(glob(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and glob(pattern[1:], text[1:])


@given(st.text("ab*?.[\n", max_size=7), st.text("ab*?.[\n", max_size=7))
def test_wildcards_match_as_a_plain_matcher_does(pattern: str, text: str) -> None:
    assert matches(pattern, text) == glob(pattern, text)


@given(st.text("ab:/", max_size=12))
def test_a_star_for_a_resource_matches_everything_and_a_text_itself(text: str) -> None:
    assert arn_matches("*", text)
    assert arn_matches(text, text)


@pytest.mark.parametrize(
    ("pattern", "arn", "expected"),
    [
        ("arn:aws:cloudformation:us-east-1:123456789012:stack/demo-test-*", STACK, True),
        ("arn:aws:cloudformation:us-east-1:123456789012:stack/demo-test/*", STACK, False),
        ("arn:aws:cloudformation:*:*:stack/demo-test-web/*", STACK, True),
        ("arn:aws:cloudformation:*:stack/demo-test-web/1", STACK, False),  # too few parts
        ("arn:aws:s*:::bucket", "arn:aws:sqs:x:y:bucket", False),
        ("arn:aws:s3:::b*", "arn:aws:s3:::b:c/d", True),  # the last part has no next
        ("arn:aws:*", STACK, True),
        ("arn:aws:iam::*:role/x", "arn:aws:iam::1:role/x", True),
        ("arn:aws:iam::1:role/x", "*", False),  # who may do it to one may not do it to all
    ],
)
def test_an_arn_is_matched_part_by_part(pattern: str, arn: str, expected: bool) -> None:  # noqa: FBT001
    assert arn_matches(pattern, arn) is expected


effects = st.sampled_from(["Allow", "Deny"])
actions = st.sampled_from(["*", DELETE, "cloudformation:*", "CLOUDFORMATION:deletestack", "s3:*"])
resources = st.sampled_from(["*", STACK, "arn:aws:cloudformation:*:*:stack/other/*"])


@given(st.lists(st.builds(lambda *of: of, effects, actions, resources), max_size=4))
def test_a_deny_wins_wherever_it_stands_and_nothing_said_allows_nothing(
    said: list[tuple[str, str, str]],
) -> None:
    documents = [
        {"Statement": statement(effect, Action=[action], Resource=resource)}
        for effect, action, resource in said
    ]
    meant = {effect for effect, action, resource in said if action[0] != "s" and "other" not in resource}
    expected = (
        Decision.DENIED if "Deny" in meant else Decision.ALLOWED if "Allow" in meant else Decision.UNMENTIONED
    )
    for order in itertools.permutations(documents):
        assert decide(order, Permission(DELETE, STACK)) is expected


@given(actions, resources)
def test_what_is_named_and_what_is_not_named_are_opposites(action: str, resource: str) -> None:
    def applies(**named: str) -> bool:
        found = {"Action": "*", "Resource": "*", **named}
        for word in ("Action", "Resource"):
            if f"Not{word}" in named:
                del found[word]
        return decide(policy({"Effect": "Allow", **found}), Permission(DELETE, STACK)) is Decision.ALLOWED

    assert applies(Action=action) != applies(NotAction=action)
    assert applies(Resource=resource) != applies(NotResource=resource)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"StringEquals": {"aws:ResourceTag/Env": "test"}}, True),  # a key has no case, a value has
        ({"StringEquals": {"aws:ResourceTag/env": ["stage", "test"]}}, True),
        ({"StringEquals": {"aws:ResourceTag/env": "Test"}}, False),
        ({"StringEqualsIgnoreCase": {"aws:ResourceTag/env": "Test"}}, True),
        ({"StringLike": {"aws:ResourceTag/env": "te*"}}, True),
        ({"StringNotEquals": {"aws:ResourceTag/env": "test"}}, False),
        ({"StringNotEquals": {"aws:ResourceTag/env": ["stage", "production"]}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:ResourceTag/env": "Test"}}, False),
        ({"StringNotLike": {"aws:ResourceTag/env": "t*"}}, False),
        ({"ArnEquals": {"ecs:cluster": "arn:aws:ecs:*:1:cluster/demo-test-*"}}, True),
        ({"ArnLike": {"ecs:cluster": "arn:aws:ecs:*:cluster/demo-test-C"}}, False),
        ({"ArnNotEquals": {"ecs:cluster": "arn:aws:ecs:eu:1:cluster/demo-test-C"}}, False),
        ({"ArnNotLike": {"ecs:cluster": "arn:aws:ecs:eu:1:cluster/demo-stage-*"}}, True),
        ({"Bool": {"aws:SecureTransport": False}}, False),  # JSON's own false, for a key that is missing
        ({"Bool": {"secure": True}}, True),
        # A key that the call has not: a plain operator does not hold, its opposite does.
        ({"StringEquals": {"missing": "x"}}, False),
        ({"StringNotEquals": {"missing": "x"}}, True),
        ({"ArnNotEquals": {"missing": "x"}}, True),
        ({"StringEqualsIfExists": {"missing": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:ResourceTag/env": "x"}}, False),
        ({"Null": {"missing": "true"}}, True),
        ({"Null": {"aws:ResourceTag/env": "true"}}, False),
        ({"Null": {"aws:ResourceTag/env": "false"}}, True),
        # All must hold.
        ({"StringEquals": {"aws:ResourceTag/env": "test", "missing": "x"}}, False),
        ({"StringEquals": {"aws:ResourceTag/env": "test"}, "Null": {"missing": "false"}}, False),
    ],
)
def test_a_statement_applies_where_its_conditions_hold(
    condition: dict[str, Any],
    expected: bool,  # noqa: FBT001 - the table's last column
) -> None:
    context = {
        "aws:resourcetag/env": "test",
        "ecs:cluster": "arn:aws:ecs:eu:1:cluster/demo-test-C",
        "secure": "true",
    }
    found = decide(policy(statement(Condition=condition)), Permission("ecs:RunTask", "x", context))
    assert found is (Decision.ALLOWED if expected else Decision.UNMENTIONED)


def test_an_operator_that_is_not_known_is_never_passed_over() -> None:
    condition = {"NumericLessThan": {"s3:max-keys": "10"}}
    with pytest.raises(ValueError, match="NumericLessThan"):
        decide(policy(statement(Condition=condition)), Permission("s3:ListBucket", "x", {"s3:max-keys": "3"}))
