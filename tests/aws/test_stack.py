from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_testenv.aws.stack import Container, Task, rule_url, tag_text, tag_value
from copilot_testenv.core.errors import SettingsError


@given(st.text(max_size=40))
def test_any_text_becomes_a_lawful_tag_and_comes_back(text: str) -> None:
    value = tag_value(text)
    assert re.fullmatch(r"[A-Za-z0-9_.:/@+ -]*", value)
    assert tag_text(value) == text


def test_a_plain_branch_name_stays_readable() -> None:
    assert tag_value("feature/x-1") == "feature/x-1"
    assert tag_value("a,b=c") == "a+2c+b+3d+c"


def test_what_no_tag_can_hold_is_said() -> None:
    with pytest.raises(SettingsError, match="too long"):
        tag_value("ä" * 200)


def test_the_container_that_failed_is_the_one_that_ended_with_an_error() -> None:
    web = Container("web", "STOPPED", 0, "dependency failed")
    startup = Container("startup", "STOPPED", 1, "")
    task = Task("1", "STOPPED", "UNKNOWN", "arn", None, "", (web, startup))
    assert task.failed_container is startup
    assert Task("1", "STOPPED", "UNKNOWN", "arn", None, "", (web,)).failed_container is web
    assert Task("1", "STOPPED", "UNKNOWN", "arn", None, "").failed_container is None


def test_a_container_that_waited_in_vain_or_was_told_to_stop_is_not_the_one_that_failed() -> None:
    web = Container("web", "STOPPED", 143, "CannotStartContainerError: … container ordering dependency …")
    redis = Container("redis", "STOPPED", 137, "")
    startup = Container("startup", "STOPPED", 1, "")
    assert Task("1", "STOPPED", "UNKNOWN", "arn", None, "", (web, redis, startup)).failed_container is startup
    unpulled = Container("redis", "STOPPED", None, "CannotPullContainerError: no such image")
    assert Task("1", "STOPPED", "UNKNOWN", "arn", None, "", (web, unpulled)).failed_container is unpulled


def test_the_address_of_a_rule_is_its_first_host_else_the_balancers_and_its_first_path() -> None:
    def rule(**values: list[str]) -> dict[str, object]:
        kinds = {"host-header": "HostHeaderConfig", "path-pattern": "PathPatternConfig"}
        said = {name.replace("_", "-"): found for name, found in values.items()}
        return {"Conditions": [{"Field": name, kinds[name]: {"Values": said[name]}} for name in said]}

    assert rule_url("http", rule(path_pattern=["/*"]), "b.elb.example") == "http://b.elb.example"
    assert (
        rule_url("http", rule(path_pattern=["/api", "/api/*"]), "localhost:81") == "http://localhost:81/api"
    )
    named = rule(host_header=["x.example", "y.example"], path_pattern=["/*"])
    assert rule_url("https", named, "b.elb.example") == "https://x.example"
    assert rule_url("http", rule(host_header=["x.localhost"]), "localhost:81") == "http://x.localhost:81"
    # The sandbox serves no https: a name of the user's domain has a twin on loopback.
    assert rule_url("https", named, "localhost:81") == "http://x.example.localhost:81"
    older = {"Conditions": [{"Field": "path-pattern", "Values": ["/old/*"]}, {"Field": "http-header"}]}
    assert rule_url("http", older, "b") == "http://b/old"
