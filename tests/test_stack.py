from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.errors import SettingsError
from scripts.stack import Container, Task, tag_text, tag_value


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
