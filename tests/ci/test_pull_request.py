from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from copilot_testenv.ci import pull_request
from copilot_testenv.ci.pull_request import Message, outputs, tell
from tests.forges import BOT, TOKEN, Forge, forge

COMMIT = "4f1c2a9d7be0c3551f2a60a1d7e2b98cf0aa1234"
SERVED = Message("feature/x", COMMIT, "https://x.example.org", "2026-11-27T18:00:00Z", "web")
GONE = replace(SERVED, url=None)
MARKER = "<!-- test-environment: web -->"
HOSTILE = (
    "feature/`</code><img src=x>`",
    "``` a\n```\n# b",
    "@octocat",
    "](https://evil.example.org) [x",
    "<!-- --> <script>alert(1)</script>",
    "$`x`$ | a\r\n/close\n* b",
    "https://evil.example.org www.evil.example.org",
    "a\\`b",
    "\u202egnp\ud800\x00",
)
unhurried = settings(deadline=None)  # a busy machine is no fault
anything = st.one_of(st.text(st.characters()), st.text("`\\<>[]()*_~ @$|\n"), st.sampled_from(HOSTILE))


@pytest.fixture(scope="module")
def server() -> Iterator[Forge]:
    with forge() as running:
        yield running


@pytest.fixture
def here(server: Forge, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """An empty forge without faults, that is reached directly and is Bitbucket too."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pull_request, "_BITBUCKET", "https://api.bitbucket.org/2.0")
    monkeypatch.setattr(pull_request, "_BITBUCKET_PROXY", server.address)
    server.pulls, server.comments, server.statuses, server.asked = [], {}, {}, []
    server.fault, server.reads_only, server.filters = "", False, True
    return server


def github(here: Forge) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true", "GITHUB_API_URL": here.address, "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_TOKEN": TOKEN,
    }  # fmt: skip


def gitlab(here: Forge) -> dict[str, str]:
    return {"CI_API_V4_URL": f"{here.address}/api/v4", "CI_PROJECT_ID": "42", "GITLAB_TOKEN": TOKEN}


def bitbucket(_: Forge) -> dict[str, str]:
    return {
        "BITBUCKET_WORKSPACE": "acme", "BITBUCKET_REPO_SLUG": "shop", "BITBUCKET_COMMIT": "beef",
        "BITBUCKET_ACCESS_TOKEN": TOKEN,
    }  # fmt: skip


@pytest.fixture
def direct(here: Forge, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """The same, with Bitbucket's interface for those who have a token."""
    monkeypatch.setattr(pull_request, "_BITBUCKET", f"{here.address}/2.0")
    return here


def pull(number: int, branch: str = "feature/x", state: str = "open", repository: str = "acme/shop") -> Any:
    """A pull request as GitHub lists it, and as GitLab does."""
    owner = repository.split("/", maxsplit=1)[0]
    return {
        "number": number, "iid": number, "state": state, "source_branch": branch,
        "source_project_id": 42 if repository == "acme/shop" else 43,
        "head": {"ref": branch, "label": f"{owner}:{branch}", "repo": {"full_name": repository}},
    }  # fmt: skip


def comment(number: int, body: str | None, association: str = "NONE", **user: Any) -> dict[str, Any]:
    author = {"id": 1, "type": "User", **user}
    return {"id": number, "body": body, "user": author, "author": author, "author_association": association}


def told(environ: dict[str, str], message: Message = SERVED) -> list[str]:
    said: list[str] = []
    tell(environ, message, said.append)
    return said


SYSTEMS = [github, gitlab, bitbucket]


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


# What goes wrong is one line.


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
        monkeypatch.setattr(pull_request, "_ANSWER_SECONDS", 0.3)
    if fault == "drips":
        monkeypatch.setattr(pull_request, "_ALL_SECONDS", 0.8)
    direct.fault = fault
    began = time.monotonic()
    (line,) = told(system(direct))
    assert time.monotonic() - began < 5
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


# What others wrote is shown, and is nothing else.


class Rendered(HTMLParser):
    """Markdown as a person sees it: its elements in order, and the text of each code span."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.codes: list[str] = []
        self.comments: list[str] = []
        self._in_code = False
        self.feed(MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "code":
            self._in_code = True
            self.codes.append("")
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        self._in_code = self._in_code and tag != "code"

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.codes[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def shown(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split())
    )


@unhurried
@given(
    branch=anything.filter(str.strip),
    commit=anything.filter(lambda text: text[:12].strip()),
    end=anything.filter(str.strip),
)
def test_hostile_names_render_as_themselves_and_as_nothing_else(branch: str, commit: str, end: str) -> None:
    body = pull_request._body(Message(branch, commit, "https://x.example.org", end, "web"))
    body.encode()
    page = Rendered(body)
    assert page.tags == ["p", "strong", "code", "code", "code", "a", "p", "code"]
    assert page.links == ["https://x.example.org"]
    assert page.comments == [" test-environment: web "]
    assert [code.strip() for code in page.codes] == ["web", shown(branch), shown(commit[:12]), shown(end)]


@unhurried
@given(anything.filter(str.strip))
def test_a_hostile_address_is_no_link_unless_it_is_one_of_the_webs(url: str) -> None:
    page = Rendered(pull_request._body(replace(SERVED, url=url)))
    assert len(page.links) + len(page.codes) == 5
    for link in page.links:
        assert link == url
        assert re.match("https?://", url)


# What later steps are handed.


def read_github_output(text: str) -> dict[str, str]:
    """As GitHub's runner reads the file: a value goes on to a line that is its delimiter and nothing else."""
    lines, values = iter(text.split("\n")), {}
    for line in lines:
        if line:
            name, _, delimiter = line.partition("<<")
            value = []
            for part in lines:
                if part == delimiter:
                    break
                value.append(part)
            else:
                raise AssertionError("Matching delimiter not found")
            values[name] = "\n".join(value)
    return values


values = st.dictionaries(st.sampled_from(["url", "branch", "commit", "expires_at"]), anything)


@unhurried
@given(values, values)
def test_githubs_outputs_arrive_as_they_were_and_no_value_makes_another(
    first: dict[str, str], second: dict[str, str]
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "output"
        said: list[str] = []
        for given_values in (first, second):
            outputs({"GITHUB_OUTPUT": str(file)}, given_values, said.append)
        text = file.read_bytes().decode()
    expected = {name: value.encode(errors="replace").decode() for name, value in {**first, **second}.items()}
    assert read_github_output(text) == expected
    assert said == []


def test_nobody_can_know_the_delimiter_of_githubs_outputs(tmp_path: Path) -> None:
    drawn = set()
    for name in ("a", "b"):
        outputs({"GITHUB_OUTPUT": str(tmp_path / name)}, {"url": "x"}, lambda _: None)
        drawn.add((tmp_path / name).read_text().splitlines()[0].removeprefix("url<<"))
    assert len(drawn) == 2
    assert all(len(delimiter) >= 32 for delimiter in drawn)


@unhurried
@example({"url": "~", "branch": "a:~"})
@given(st.dictionaries(st.sampled_from(["url", "branch"]), anything | st.text("a1/:.%=+,@_-~$`#'\" ")))
def test_the_dotenv_file_means_the_same_to_a_shell_and_what_would_not_is_left_out_and_said(
    values: dict[str, str],
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "deploy.env"
        said: list[str] = []
        outputs({"DEPLOY_OUTPUT": str(file)}, values, said.append)
        text = file.read_text()
        script = '. "$0"; printf "%s\\0%s" "${DEPLOY_URL-absent}" "${DEPLOY_BRANCH-absent}"'
        done = subprocess.run(
            ["sh", "-euc", script, str(file)],
            capture_output=True, text=True, check=True, cwd=folder, env={"HOME": "/root"},
        )  # fmt: skip
    written = dict(line.split("=", 1) for line in text.splitlines())
    assert done.stdout == "\0".join(written.get(name, "absent") for name in ("DEPLOY_URL", "DEPLOY_BRANCH"))
    for name, value in values.items():
        key = f"DEPLOY_{name.upper()}"
        assert (written.get(key) == value) != any(key in line for line in said)


def test_ordinary_values_all_arrive(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "deploy.env"
    values = {"url": "http://demo-Publi-1x.eu-west-1.elb.amazonaws.com:80/a?b=c".replace("?", "%3F")}
    values |= {"branch": "feature/checkout-2", "commit": COMMIT, "expires_at": "2026-11-27T18:00:00Z"}
    outputs({"DEPLOY_OUTPUT": str(file)}, values, said.append)
    assert file.read_text().splitlines() == [
        f"DEPLOY_URL={values['url']}",
        "DEPLOY_BRANCH=feature/checkout-2",
        f"DEPLOY_COMMIT={COMMIT}",
        "DEPLOY_EXPIRES_AT=2026-11-27T18:00:00Z",
    ]
    assert said == []


def test_a_name_that_is_no_word_is_not_written(tmp_path: Path) -> None:
    variables = {"GITHUB_OUTPUT": str(tmp_path / "a"), "DEPLOY_OUTPUT": str(tmp_path / "b")}
    outputs(variables, {"url\nPATH": "x", "a=b": "y"}, lambda _: None)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == ""


def test_where_no_file_is_named_nothing_is_written_and_what_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    outputs({"DEPLOY_OUTPUT": ""}, {"url": "x", "branch": "$(x)"}, said.append)
    assert (said, list(tmp_path.iterdir())) == ([], [])
    for path, why in (
        (str(tmp_path), "Is a directory"),
        ("absent/file", "No such file"),
        ("a\0b", "it is not a path"),
    ):
        for variable in ("GITHUB_OUTPUT", "DEPLOY_OUTPUT"):
            outputs({variable: path}, {"url": "x"}, said.append)
            assert f"{variable} cannot be written: {why}" in said.pop()
            assert said == []
