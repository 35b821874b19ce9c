"""What goes wrong when a pull request is told is one line, without the token."""

from __future__ import annotations

import time
from typing import Any

import pytest

from copilot_testenv.ci import api, pull_request
from tests.ci.pull_requests import SYSTEMS, github, gitlab, pull, told
from tests.forges import TOKEN, Forge, forge


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (401, "answered 401"),
        (403, "answered 403"),
        (404, "answered 404"),
        (500, "answered 500"),
        ("hangs", "did not answer for 0.3 s"),
        ("drips", "longer than 0.8 s"),
        ("closes", "cannot be reached"),
        ("garbage", "not understood"),
        ("odd", "not understood"),
        ("redirects", "answered 302"),
    ],
)
def test_a_failure_is_one_line_without_the_token_and_never_raised(
    direct: Forge, monkeypatch: pytest.MonkeyPatch, system: Any, fault: Any, why: str
) -> None:
    if fault == "hangs":
        monkeypatch.setattr(api, "ANSWER_SECONDS", 0.3)
    if fault == "drips":
        monkeypatch.setattr(api, "ALL_SECONDS", 0.8)
    direct.fault = fault
    began = time.monotonic()
    (line,) = told(system(direct))
    assert time.monotonic() - began < 30
    assert why in line
    assert "not told" in line
    assert "\n" not in line
    assert TOKEN not in line
    assert len(direct.asked) == 1  # nothing is tried again, and no redirect followed


@pytest.mark.parametrize("system", [github, gitlab])
def test_a_token_that_may_only_read_is_one_line(here: Forge, system: Any) -> None:
    here.pulls = [pull(12), pull(12, state="opened")]
    here.reads_only = True
    (line,) = told(system(here))
    assert "answered 403" in line
    assert "docs/ci.md" in line


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_that_is_not_there_is_one_line(
    direct: Forge, monkeypatch: pytest.MonkeyPatch, system: Any
) -> None:
    with forge() as other:
        gone = other.address
    monkeypatch.setattr(pull_request, "_BITBUCKET", gone)
    addresses = {"GITHUB_API_URL": gone, "CI_API_V4_URL": gone}
    variables = {name: addresses.get(name, value) for name, value in system(direct).items()}
    (line,) = told(variables)
    assert "Connection refused" in line


@pytest.mark.parametrize("token", ["two\r\nX-Evil: lines", "caf\u00e9", "a b"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_token_that_fits_in_no_header_is_neither_sent_nor_shown(
    direct: Forge, system: Any, token: str
) -> None:
    (line,) = told({name: token if value == TOKEN else value for name, value in system(direct).items()})
    assert "token contains letters" in line
    assert token not in line
    assert direct.asked == []


def test_a_newline_behind_the_token_does_no_harm(here: Forge) -> None:
    here.pulls = [pull(12)]
    assert told({**github(here), "GITHUB_TOKEN": f"{TOKEN}\n"}) == ["Told on GitHub's pull request #12."]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/", "example.org"])
def test_an_address_that_is_not_the_webs_is_not_opened(here: Forge, address: str) -> None:
    (line,) = told({**github(here), "GITHUB_API_URL": address})
    assert "does not begin with https://" in line
