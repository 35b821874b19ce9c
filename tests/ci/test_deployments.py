"""Check that a deploy and a teardown are GitHub's deployments, and that GitHub's errors fail neither."""

from __future__ import annotations

import pytest

from copilot_testenv.ci import deployments
from tests.ci.pull_requests import COMMIT, github
from tests.forges import TOKEN, Forge

SLOT = "demo-test-web"
URL = "https://x.example.org"


def states(here: Forge) -> list[list[str]]:
    return [[status["state"] for status in one["statuses"]] for one in here.deployments]


def deploy(here: Forge, url: str | None = URL, slot: str = SLOT) -> list[str]:
    said: list[str] = []
    with deployments.shown(github(here), COMMIT, slot, said.append) as shown:
        shown.url = url
    return said


def test_a_deploy_is_in_progress_and_then_a_success_with_its_url_and_log(here: Forge) -> None:
    run = {**github(here), "GITHUB_SERVER_URL": "https://github.example", "GITHUB_RUN_ID": "9"}
    said: list[str] = []
    with deployments.shown(run, COMMIT, SLOT, said.append) as shown:
        assert states(here) == [["in_progress"]]
        shown.url = URL
    assert said == []
    (made,) = here.deployments
    assert (made["ref"], made["environment"]) == (COMMIT, SLOT)
    assert made["transient_environment"] is True
    assert made["production_environment"] is False
    in_progress, success = made["statuses"]
    assert (in_progress["state"], success["state"]) == ("in_progress", "success")
    assert success["environment_url"] == URL
    assert in_progress["log_url"] == "https://github.example/acme/shop/actions/runs/9"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_deploy_that_ends_by_an_error_is_a_failure_and_the_error_goes_on(
    here: Forge, error: type[BaseException]
) -> None:
    deploy(here)
    said: list[str] = []
    with pytest.raises(error), deployments.shown(github(here), COMMIT, SLOT, said.append):
        raise error
    assert said == []
    assert states(here) == [["in_progress", "success"], ["in_progress", "failure"]]


def test_a_redeploy_ends_the_slots_earlier_deployments_and_no_others(here: Forge) -> None:
    deploy(here, slot="demo-test-web-y")
    deploy(here)
    deploy(here, url=None)
    deploy(here)
    assert states(here) == [
        ["in_progress", "success"],
        ["in_progress", "success", "inactive"],
        ["in_progress", "failure"],
        ["in_progress", "success"],
    ]


def test_a_teardown_ends_what_is_live_and_asks_no_further_than_what_had_ended(here: Forge) -> None:
    for _ in range(5):
        deploy(here)
    said: list[str] = []
    here.asked.clear()
    deployments.gone(github(here), SLOT, said.append)
    assert [each[-1] for each in states(here)] == ["inactive"] * 5
    looked = [asked.path for asked in here.asked if asked.path.endswith("/statuses")]
    assert looked == [f"/repos/acme/shop/deployments/{number}/statuses" for number in (104, 104, 103)]
    here.asked.clear()
    deployments.gone(github(here), SLOT, said.append)
    assert [asked.method for asked in here.asked] == ["GET", "GET"]
    assert said == []


def test_where_a_variable_is_absent_nothing_is_asked(here: Forge) -> None:
    for name in github(here):
        said: list[str] = []
        rest = {key: value for key, value in github(here).items() if key != name}
        with deployments.shown(rest, COMMIT, SLOT, said.append):
            pass
        deployments.gone(rest, SLOT, said.append)
        assert said == []
    assert here.asked == []


@pytest.mark.parametrize("fault", [403, 500, "closes", "garbage", "odd"])
def test_an_error_of_github_is_one_line_for_a_deploy_and_one_for_a_teardown(
    here: Forge, fault: str | int
) -> None:
    here.fault = fault
    said = deploy(here)
    deployments.gone(github(here), SLOT, said.append)
    assert len(said) == 2
    for line in said:
        assert line.startswith("GitHub (deployments) was not told of this: ")
        assert TOKEN not in line
        assert "\n" not in line
    assert len(here.asked) == 2
