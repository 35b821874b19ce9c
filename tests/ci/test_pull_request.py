"""A deploy and a teardown are told where the branch's pull request is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.ci.pull_requests import (
    COMMIT,
    GONE,
    MARKER,
    SERVED,
    SYSTEMS,
    bitbucket,
    comment,
    github,
    gitlab,
    pull,
    told,
)
from tests.forges import BOT, Forge


@pytest.mark.parametrize("system", SYSTEMS)
def test_where_a_variable_is_absent_nothing_is_asked_and_nothing_said(direct: Forge, system: Any) -> None:
    variables = system(direct)
    variables.pop("BITBUCKET_ACCESS_TOKEN", None)  # that one has a way without
    for name in variables:
        assert told({**variables, name: ""}) == []
        assert told({key: value for key, value in variables.items() if key != name}) == []
    assert direct.asked == []


# GitHub and GitLab: one comment.

BOTH = pytest.mark.parametrize(
    ("system", "opened", "mark"),
    [(github, "open", "GitHub's pull request #"), (gitlab, "opened", "GitLab's merge request !")],
)


@BOTH
def test_the_first_deploy_makes_one_comment_and_the_next_changes_it(
    here: Forge, system: Any, opened: str, mark: str
) -> None:
    here.pulls = [pull(12, state=opened), pull(11, state="closed"), pull(10, "feature/y", opened)]
    here.comments = {12: [comment(1, None), comment(2, f"see {MARKER}")]}
    assert told(system(here)) == [f"Told on {mark}12."]
    assert told(system(here), replace(SERVED, url="https://y.example.org")) == [f"Told on {mark}12."]
    _, _, ours = here.bodies(12)
    assert ours.startswith(MARKER)
    assert "https://y.example.org" in ours
    assert COMMIT[:12] in ours
    assert "2026-11-27T18:00:00Z" in ours
    assert set(here.comments) == {12}


@pytest.mark.parametrize(
    ("system", "opened", "wakes"),
    [(github, "open", "a comment `/wake`"), (gitlab, "opened", "the job `wake`")],
)
def test_office_hours_are_told_with_the_way_to_wake(
    here: Forge, system: Any, opened: str, wakes: str
) -> None:
    here.pulls = [pull(12, state=opened)]
    told(system(here), replace(SERVED, hours="mon-fri 08:00-19:00 UTC"))
    told_sleep = (
        f"Outside ` mon-fri 08:00-19:00 UTC ` it sleeps, and its address answers 503: {wakes} wakes it."
    )
    assert told_sleep in here.bodies(12)[0]
    told(system(here))
    assert "sleeps" not in here.bodies(12)[0]


@BOTH
def test_each_service_has_a_comment_of_its_own(here: Forge, system: Any, opened: str, mark: str) -> None:
    here.pulls = [pull(12, state=opened)]
    for service in ("web", "web-x", "web"):
        assert told(system(here), replace(SERVED, service=service)) == [f"Told on {mark}12."]
    assert [body.splitlines()[0] for body in here.bodies(12)] == [MARKER, MARKER.replace("web", "web-x")]


@BOTH
def test_a_teardown_changes_the_comment_also_on_what_was_just_closed(
    here: Forge, system: Any, opened: str, mark: str
) -> None:
    here.pulls = [pull(12, state=opened), pull(11, state=opened)]
    assert told(system(here)) == [f"Told on {mark}12, {mark[-1]}11."]
    here.comments[9] = [comment(9, f"{MARKER}\n\nlong ago", "OWNER", id=7)]
    here.pulls = [pull(12, state="closed"), pull(11, state=opened), pull(9, state="closed")]
    assert told(system(here), GONE) == [f"Told on {mark}11, {mark[-1]}12."]
    for number in (11, 12):
        (body,) = here.bodies(number)
        assert "no longer served" in body
        assert "https://" not in body
    assert here.bodies(9) == [f"{MARKER}\n\nlong ago"]


@BOTH
def test_a_teardown_of_what_was_never_told_makes_no_comment(
    here: Forge, system: Any, opened: str, mark: str
) -> None:
    here.pulls = [pull(12, state=opened)]
    assert mark
    assert told(system(here), GONE) == []
    assert here.comments == {}


@BOTH
def test_a_branch_without_a_pull_request_is_told_nowhere(
    here: Forge, system: Any, opened: str, mark: str
) -> None:
    here.filters = False  # the system lists what was not asked for
    here.pulls = [pull(12, "feature/y", opened), pull(13, state=opened, repository="stranger/shop")]
    assert mark
    assert told(system(here)) == []
    assert here.comments == {}


def test_a_pull_request_of_a_fork_that_was_deleted_is_passed_over(here: Forge) -> None:
    here.pulls = [pull(12), pull(13)]
    here.pulls[0]["head"]["repo"] = None
    assert told(github(here)) == ["Told on GitHub's pull request #13."]


@BOTH
def test_a_comment_is_found_behind_hundreds_of_others(
    here: Forge, system: Any, opened: str, mark: str
) -> None:
    here.pulls = [pull(12, state=opened)]
    here.comments = {12: [comment(number, "hm") for number in range(250)]}
    here.comments[12].append({**comment(250, f"{MARKER}\n\nold"), "user": BOT, "author": BOT})
    assert told(system(here)) == [f"Told on {mark}12."]
    assert len(here.bodies(12)) == 251
    assert "https://x.example.org" in here.bodies(12)[-1]


@BOTH
def test_a_strangers_comment_with_our_marker_is_left_alone(
    here: Forge, system: Any, opened: str, mark: str
) -> None:
    here.pulls = [pull(12, state=opened)]
    planted = comment(1, f"{MARKER}\n\nsoon https://evil.example.org", "CONTRIBUTOR")
    here.comments = {12: [planted]}
    assert told(system(here)) == [f"Told on {mark}12."]
    planted_body, ours = here.bodies(12)
    assert "evil" in planted_body
    assert "https://x.example.org" in ours


def test_on_github_a_comment_of_an_insider_is_ours_and_one_of_nobody_is_not(here: Forge) -> None:
    """A token may be a person's; an account that is gone is nobody."""
    here.pulls = [pull(12)]
    here.comments = {12: [comment(1, f"{MARKER}\n\ngone"), comment(2, f"{MARKER}\n\nold", "MEMBER")]}
    here.comments[12][0]["user"] = None
    assert told(github(here)) == ["Told on GitHub's pull request #12."]
    assert here.bodies(12)[0] == f"{MARKER}\n\ngone"
    assert "https://x.example.org" in here.bodies(12)[1]


def test_gitlabs_own_merge_request_is_not_searched_for_but_is_no_other_branchs(here: Forge) -> None:
    own = {"CI_MERGE_REQUEST_IID": "5", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/x"}
    assert told({**gitlab(here), **own}) == ["Told on GitLab's merge request !5."]
    assert "/api/v4/projects/42/merge_requests" not in [asked.path for asked in here.asked]
    assert told({**gitlab(here), **own}, replace(SERVED, branch="feature/y")) == []


# Bitbucket: a build status, or a report.


def test_bitbucket_gets_a_build_status_of_the_deployed_commit_that_a_teardown_stops(direct: Forge) -> None:
    assert told(bitbucket(direct)) == [f"Told on Bitbucket's commit {COMMIT[:12]}."]
    ((at, status),) = direct.statuses.items()
    assert at.split()[0] == COMMIT
    assert status["state"] == "SUCCESSFUL"
    assert status["url"] == "https://x.example.org"
    assert status["refname"] == "feature/x"
    assert status["name"] == "Test environment web"
    told(bitbucket(direct), replace(SERVED, hours="mon-fri 08:00-19:00 UTC"))
    ((_, status),) = direct.statuses.items()
    assert status["description"] == "Served until 2026-11-27T18:00:00Z, awake mon-fri 08:00-19:00 UTC"
    told(bitbucket(direct), GONE)
    ((_, status),) = direct.statuses.items()
    assert status["state"] == "STOPPED"
    assert status["url"] == "https://bitbucket.org/acme/shop"


def test_bitbuckets_key_fits_and_tells_services_apart_however_long_their_names(direct: Forge) -> None:
    for service in ("web", "w" * 60, "w" * 61):
        assert told(bitbucket(direct), replace(SERVED, service=service, commit=None))[0].startswith("Told")
    assert len(direct.statuses) == 3
    assert all(at.startswith("beef ") for at in direct.statuses)


def test_without_a_token_bitbucket_gets_a_report_through_the_pipelines_own_proxy(here: Forge) -> None:
    variables = bitbucket(here)
    del variables["BITBUCKET_ACCESS_TOKEN"]
    assert told(variables) == [f"Told on Bitbucket's commit {COMMIT[:12]}."]
    ((_, report),) = here.statuses.items()
    assert report["link"] == "https://x.example.org"
    assert report["details"] == "Served until 2026-11-27T18:00:00Z"
    assert [asked.token for asked in here.asked] == [None]
    told(variables, GONE)
    ((_, report),) = here.statuses.items()
    assert (report["details"], report["link"]) == ("Torn down", "https://bitbucket.org/acme/shop")


def test_an_address_that_bitbucket_would_fill_in_is_not_handed_on(direct: Forge) -> None:
    told(bitbucket(direct), replace(SERVED, url="https://evil.example.org/{repository.full_name}"))
    ((_, status),) = direct.statuses.items()
    assert status["url"] == "https://bitbucket.org/acme/shop"
