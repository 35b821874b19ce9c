"""What others wrote is shown in a comment, and is nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from markdown_it import MarkdownIt

from copilot_testenv.ci import pull_request
from copilot_testenv.ci.pull_request import Message
from tests.ci.pull_requests import SERVED, anything, unhurried


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
    body = pull_request._body(Message(branch, commit, "https://x.example.org", end, "web", end), "a comment")
    body.encode()
    page = Rendered(body)
    assert page.tags == ["p", "strong", "code", "code", "code", "a", "p", "code", "code"]
    assert page.links == ["https://x.example.org"]
    assert page.comments == [" test-environment: web "]
    assert [code.strip() for code in page.codes] == [
        "web",
        shown(branch),
        shown(commit[:12]),
        shown(end),
        shown(end),
    ]


@unhurried
@given(anything.filter(str.strip))
def test_a_hostile_address_is_no_link_unless_it_is_one_of_the_webs(url: str) -> None:
    page = Rendered(pull_request._body(replace(SERVED, url=url), ""))
    assert len(page.links) + len(page.codes) == 5
    for link in page.links:
        assert link == url
        assert re.match("https?://", url)
