from __future__ import annotations

import html
import json
import os
import re
import shutil
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_testenv.page.html import Row, page
from tests.browser import browse, served

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
TITLE = "Test environments of demo"
MAIN = Row(
    branch="main", url="https://test.shop.example.org", commit="3f9c2d17ab40e6215c8b7d90e1f2a3b4c5d6e7f8",
    deployed_by="ci@example.org", deployed_at="2026-11-24T06:10:00Z", expires_at=None,
    data_copied_at="2026-11-24T05:58:00Z", why="", note="", state="live", isolated=False,
)  # fmt: skip
LONG = replace(
    MAIN, branch="feature/" + "x" * 192, url="https://" + "y" * 60 + ".example.org/" + "z" * 150,
    commit="c" * 40, deployed_by="w" * 120 + "@example.org", expires_at="2026-11-27T18:00:00Z", why="W" * 240,
    note="N" * 240,
    state="failed: " + "ROLLBACK_" * 12, isolated=True,
)  # fmt: skip


def six(now: datetime) -> list[Row]:
    """Six deployments of a team: kept, with an end, near it, beyond it, under way and failed."""

    def at(hours: float) -> str:
        return (now + timedelta(hours=hours)).isoformat(timespec="seconds")

    def own(name: str, commit: str, by: str, deployed: float, end: float, why: str) -> Row:
        return Row(
            branch=name, url=f"https://{name.split('/')[1]}.test.shop.example.org", commit=commit,
            deployed_by=by, deployed_at=at(deployed), expires_at=at(end), data_copied_at=at(deployed - 0.1),
            why=why, note="", state="live", isolated=True,
        )  # fmt: skip

    news = own("feature/newsletter", "5b20d9c1e8a377", "ada@example.org", -0.05, 76, "Double opt-in")
    bump = own("dependabot/django-5.2.9", "e4f6120bb97d05", "dependabot[bot]", -1.7, 76, "")
    return [
        replace(MAIN, deployed_at=at(-7.8), data_copied_at=at(-8)),
        own("feature/checkout", "a81b0c44d2f0aa", "ada@example.org", -4.5, 76, "One step, for Mia to try"),
        own("feature/search-by-colour", "09de77310c5b11", "grace@example.org", -95, 18.5, "Search by facets"),
        own("fix/vat-rounding", "77aa10ffe3c201", "linus@example.org", -146, -20, "VAT on refunds"),
        replace(news, url=None, data_copied_at=None, state="being changed"),
        replace(bump, url=None, data_copied_at=None, state="failed: ROLLBACK_COMPLETE"),
    ]


HOSTILE = (
    "</title></style></script><script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- <bdi> ]]> -->",
    "&lt;b&gt; &#x3c;b> &amp;amp;",
    "feature/\u202egnp.\u2066exe\x00\x1b[31m\ud800\r\n<br>",
)

unhurried = settings(deadline=None)  # a busy machine is no fault

# Unicode's classes of the letters that turn those beside them around.
DIRECTIONS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
anything = st.one_of(st.text(st.characters()), st.sampled_from(HOSTILE))
rows = st.builds(
    Row, branch=anything, url=st.none() | anything, commit=anything, deployed_by=anything,
    deployed_at=anything, expires_at=st.none() | anything, data_copied_at=st.none() | anything, why=anything,
    note=anything, state=anything, isolated=st.booleans(),
)  # fmt: skip


def seen(text: str) -> str:
    """`text` as it may be shown: on one line, what nobody can see replaced."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in {"Cc", "Cs"} or unicodedata.bidirectional(letter) in DIRECTIONS
        else letter
        for letter in " ".join(text.split())
    )


class Read(HTMLParser):
    """A page as a parser sees it: its elements, and the text inside each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            name = dict(attrs).get("class") or tag
            self._open.append(name)
            self.texts.setdefault(name, "")

    def handle_endtag(self, tag: str) -> None:
        assert tag
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in set(self._open):
            self.texts[name] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]


def shown(*rows: Row, **more: str) -> Read:
    return Read(page(rows, title=TITLE, made_at=NOW, **more))


@unhurried
@given(rows, anything, anything)
def test_hostile_texts_never_become_markup(row: Row, title: str, warning: str) -> None:
    # The times and the address decide on elements of their own; what else somebody wrote decides on none.
    why, note = ("w" if text.split() else "" for text in (row.why, row.note))
    tame = replace(row, branch="b", commit="c", deployed_by="d", why=why, note=note)
    written = page([row], title=title, made_at=NOW, warning=warning)
    written.encode()  # fits into a file
    hostile = Read(written)
    assert hostile.shape == shown(tame, warning="w" if warning else "").shape
    assert hostile.texts["title"] == hostile.texts["h1"] == seen(title)
    assert hostile.texts["h2"] == seen(row.branch or "an unknown branch")
    assert hostile.texts["state"] == seen(row.state[:1].upper() + row.state[1:])
    assert hostile.texts.get("why", "") == seen(row.why)
    assert hostile.texts.get("note", "") == seen(row.note)
    assert hostile.texts["code"] == seen((row.commit or "unknown")[:12])
    assert f"by {seen(row.deployed_by or 'unknown')}" in hostile.texts["dl"]
    if warning:
        assert hostile.texts["warning"] == f"Note: {seen(warning)}"


@unhurried
@given(st.one_of(anything, anything.map("https://{}".format), anything.map("javascript://{}".format)))
def test_only_an_address_of_the_web_is_a_link(url: str) -> None:
    read = shown(replace(MAIN, url=url))
    links = [attributes["href"] for tag, attributes in read.elements if tag == "a"]
    assert links == ([url] if re.fullmatch(r"https?://[!-~]+", url, re.IGNORECASE) else [])
    assert read.texts["address"] == (seen(url) if url else "No address")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//example.org", "https:example.org"]
)
def test_an_address_that_a_browser_would_run_is_text(url: str) -> None:
    assert "<a href" not in page([replace(MAIN, url=url)], title=TITLE, made_at=NOW)
    assert "<a href" in page([replace(MAIN, url="http://localhost:32803")], title=TITLE, made_at=NOW)


@pytest.mark.parametrize(
    ("end", "mark"),
    [
        ("2026-11-25T14:00:01Z", ""),
        ("2026-11-25T14:00:00Z", "expires within 24 hours"),
        ("2026-11-24T14:00:01Z", "expires within 24 hours"),
        ("2026-11-24T14:00:00Z", "expired"),
        ("2026-11-24T15:30:00+02:00", "expired"),
    ],
)
def test_what_ends_within_a_day_or_has_ended_is_marked_in_words(end: str, mark: str) -> None:
    read = shown(replace(MAIN, expires_at=end))
    (element,) = (attributes for _, attributes in read.elements if "data-end" in attributes)
    assert read.texts[element["class"] or ""] == mark


def test_a_deployment_without_an_end_is_kept_and_an_unreadable_end_is_shown_as_it_is() -> None:
    assert "kept until somebody tears it down" in shown(MAIN).texts["dl"]
    for odd in ("soon", "2026-11-24T14:00:00", "0001-01-01T00:00:00+14:00"):
        read = shown(replace(MAIN, expires_at=odd))
        assert odd in read.texts["dl"]
        assert not [True for _, attributes in read.elements if "data-end" in attributes]


def test_each_card_says_who_what_and_when_in_absolute_times() -> None:
    row = replace(MAIN, expires_at="2026-11-27T20:00:00+02:00", why="For Mia to try", isolated=True)
    text = shown(row).texts["live"].replace("\xa0", " ")
    for words in (
        "Live", "own service and database", "main", "https://test.shop.example.org", "For Mia to try",
        "Fri 27 Nov 2026, 18:00 UTC", "Tue 24 Nov 2026, 05:58 UTC", "Tue 24 Nov 2026, 06:10 UTC",
        "by ci@example.org", "3f9c2d17ab40",
    ):  # fmt: skip
        assert words in text
    assert "own service" not in shown(MAIN).texts["live"]


def test_the_page_says_when_it_was_made_of_how_many_and_where_nothing_is_deployed() -> None:
    made = "as of Tue 24 Nov 2026, 14:00\xa0UTC"
    assert shown(*six(NOW)).texts["made"] == f"6 deployments {made}"
    assert shown(MAIN).texts["made"] == f"One deployment {made}"
    empty = shown()
    assert empty.texts["made"] == f"No deployment {made}"
    assert empty.texts["empty"].startswith("Nothing is deployed.")


def test_the_page_fetches_nothing_and_asks_not_to_be_found() -> None:
    read = shown(*six(NOW))
    assert read.elements[0] == ("html", {"lang": "en"})
    assert not {tag for tag, _ in read.elements} & {"link", "img", "iframe", "base", "form", "object"}
    assert not [True for _, attributes in read.elements if "src" in attributes or "style" in attributes]
    assert "url(" not in read.texts["style"]
    assert ("meta", {"name": "robots", "content": "noindex"}) in read.elements


# What a frame of the browser says of its page. A text's colour is compared with what is painted behind it:
# https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio
MEASURE = """
function light(colour) {
  const [r, g, b] = colour.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}
function painted(text) { return text.match(/[\\d.]+/g).map(Number); }
function behind(element) {
  for (; element; element = element.parentElement) {
    const colour = painted(getComputedStyle(element).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) { return colour; }
  }
  return [255, 255, 255];
}
function contrast(element) {
  const colours = [painted(getComputedStyle(element).color), behind(element)];
  const [a, b] = colours.map(colour => light(colour.slice(0, 3)));
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}
function measure(frame) {
  const page = frame.contentDocument, all = [...page.querySelectorAll("body *")];
  const speaks = e => [...e.childNodes].some(node => node.nodeType == Node.TEXT_NODE && node.data.trim());
  const texts = all.filter(e => e.tagName != "SCRIPT" && speaks(e));
  return {
    overflow: page.documentElement.scrollWidth - frame.contentWindow.innerWidth,
    text: page.body.innerText, title: page.title, paper: getComputedStyle(page.body).backgroundColor,
    contrast: Math.min(...texts.map(contrast)), heading: getComputedStyle(page.querySelector("h1")).fontSize,
  };
}
onload = () => {
  const all = Object.fromEntries([...document.querySelectorAll("iframe")].map(f => [f.id, measure(f)]));
  document.querySelector("pre").textContent = JSON.stringify(all);
};
"""


def frame(name: str, source: str, width: int, more: str = "") -> str:
    return f'<iframe id="{name}" src="{source}" style="border:0;width:{width}px;height:700px;{more}"'


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Chromium says of pages in frames of a phone's and a desk's width, by name."""
    long = page([LONG], title=TITLE, made_at=NOW, warning="Two could not be read: " + "q" * 200)
    team = page(six(NOW), title=TITLE, made_at=NOW)
    now = datetime.now(UTC)
    stale = page(six(now), title=TITLE, made_at=now - timedelta(days=3))
    unbroken = re.sub(r"<meta http-equiv=[^>]*>", "", long).replace("overflow-wrap: anywhere", "")
    assert len(unbroken) < len(long)
    intruded = team.replace(
        "</main>", "<script>document.title = 'owned'</script><style>h1 { font-size: 99px }</style>"
    )
    frames = [
        frame("six-390", "six", 390) + ">",
        frame("six-1200", "six", 1200) + ">",
        frame("dark-390", "six", 390, "color-scheme:dark") + ">",
        frame("empty-390", "empty", 390) + ">",
        frame("long-390", "long", 390) + ">",
        frame("long-1200", "long", 1200) + ">",
        frame("unbroken-390", "unbroken", 390) + ">",
        frame("intruded", "intruded", 1200) + ">",
        frame("stale", "stale", 390) + ">",
        frame("stale-scriptless", "stale", 390) + ' sandbox="allow-same-origin">',
        frame("scriptless", "six", 390) + ' sandbox="allow-same-origin">',
    ]
    pages = {
        "six": team,
        "stale": stale,
        "long": long,
        "unbroken": unbroken,
        "intruded": intruded,
        "empty": page([], title=TITLE, made_at=NOW),
        "frames": f"<!doctype html>{'</iframe>'.join(frames)}</iframe><pre></pre><script>{MEASURE}</script>",
    }
    with served(pages) as address:
        document = browse(address + "frames", tmp_path_factory.mktemp("browser"), width=1300, height=900)
    found = re.search(r"<pre>(.*?)</pre>", document, re.DOTALL)
    assert found
    answer: dict[str, Any] = json.loads(html.unescape(found[1]))
    return answer


@pytest.mark.parametrize(
    "name", ["six-390", "six-1200", "dark-390", "empty-390", "long-390", "long-1200", "scriptless"]
)
def test_nothing_scrolls_sideways_on_a_phone_or_a_desk(measured: dict[str, Any], name: str) -> None:
    assert measured[name]["overflow"] <= 0


def test_the_measure_sees_a_page_that_does_scroll_sideways(measured: dict[str, Any]) -> None:
    assert measured["unbroken-390"]["overflow"] > 500


def test_the_dark_page_is_dark_and_every_text_stands_out_from_what_is_behind_it(
    measured: dict[str, Any],
) -> None:
    assert measured["dark-390"]["paper"] == "rgb(18, 23, 21)"
    assert measured["six-390"]["paper"] == "rgb(246, 245, 241)"
    for name in ("six-390", "dark-390", "long-390", "empty-390"):
        assert measured[name]["contrast"] >= 4.5, name  # AA: https://www.w3.org/TR/WCAG21/#contrast-minimum


def test_its_own_script_says_how_long_ago_and_marks_ends_by_the_readers_clock(
    measured: dict[str, Any],
) -> None:
    text = measured["stale"]["text"].replace("\xa0", " ")
    assert "UTC (3 days ago)" in text  # the page itself
    assert "UTC (20 hours ago) expired" in text
    assert "UTC (in 18 hours) expires within 24 hours" in text
    assert "expires within" not in measured["stale-scriptless"]["text"]


def test_without_a_script_it_says_the_same_in_absolute_times(measured: dict[str, Any]) -> None:
    text = measured["scriptless"]["text"]
    assert "ago)" not in text
    assert text.count("expired") == text.count("expires within 24 hours") == 1
    assert "Fri 27 Nov 2026, 18:00\xa0UTC" in text


def test_the_policy_lets_nothing_in_but_the_pages_own_style_and_script(measured: dict[str, Any]) -> None:
    assert measured["intruded"]["title"] == TITLE
    assert measured["intruded"]["heading"] == measured["six-1200"]["heading"] != "99px"


def test_a_picture_of_six_deployments_can_be_taken(tmp_path: Path) -> None:
    picture = tmp_path / "status.png"
    now = datetime.now(UTC)
    with served({"status": page(six(now), title=TITLE, made_at=now)}) as address:
        browse(address + "status", tmp_path, width=1200, height=1300, picture=picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    if os.environ.get("STATUS_SCREENSHOT"):
        shutil.copy(picture, os.environ["STATUS_SCREENSHOT"])
