from __future__ import annotations

from datetime import date

import pytest

from copilot_testenv.copilot import runtimes


@pytest.mark.parametrize(
    ("runtime", "today", "said"),
    [
        ("nodejs20.x", date(2026, 4, 29), ""),
        (
            "nodejs20.x",
            date(2026, 4, 30),
            "AWS has not supported it since 2026-04-30, and makes no new function on it from 2027-02-01",
        ),
        (
            "nodejs20.x",
            date(2027, 2, 1),
            "AWS has not supported it since 2026-04-30, and has made no new function on it since 2027-02-01",
        ),
        ("nodejs24.x", date(2026, 11, 24), ""),
        ("python3.99", date(2099, 1, 1), ""),
    ],
)
def test_a_runtime_is_wrong_from_the_day_aws_supports_it_no_longer(
    runtime: str, today: date, said: str
) -> None:
    assert runtimes.why_outdated(runtime, today) == said


def test_the_runtime_that_patches_write_is_supported_on_the_day_the_list_was_made() -> None:
    assert not runtimes.why_outdated(runtimes.target(), date(2026, 11, 24))


def test_functions_are_the_lambda_functions_with_a_runtime_whatever_else_stands_there() -> None:
    template = {
        "Resources": {
            "One": {"Type": "AWS::Lambda::Function", "Properties": {"Runtime": "nodejs20.x"}},
            "Image": {"Type": "AWS::Lambda::Function", "Properties": {"PackageType": "Image"}},
            "Edge": {"Type": "AWS::CloudFront::Function", "Properties": {"Runtime": "cloudfront-js-1.0"}},
            "Odd": None,
            "Bare": {"Type": "AWS::Lambda::Function"},
        }
    }
    assert runtimes.functions(template) == {"One": "nodejs20.x"}
    assert runtimes.functions({}) == {}
