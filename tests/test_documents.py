"""The documents: each link and each anchor leads somewhere, and the README leads to each page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.joinpath("docs").glob("*.md"),
        *(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")),
    ]
)
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """The text without its blocks of code."""
    return FENCE.sub("", path.read_text())


def targets(path: Path) -> list[str]:
    return LINK.findall(re.sub(r"`[^`]*`", "", prose(path)))


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings: small letters, no punctuation, dashes for spaces, numbers for doubles.

    Source: https://docs.github.com/en/get-started/writing-on-github, "Section links".
    """
    return set(_anchors(re.findall(r"^#+ +(.+?) *$", prose(path), re.MULTILINE)))


def _anchors(headings: list[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = seen[slug] = seen.get(slug, -1) + 1
        yield f"{slug}-{number}" if number else slug


def broken(path: Path) -> list[str]:
    """The relative links of a document that lead nowhere."""
    found = []
    for target in targets(path):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        leads = path.parent / file if file else path
        if not leads.exists() or (anchor and anchor not in anchors(leads)):
            found.append(target)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_relative_link_and_each_anchor_leads_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `page`: one\n## Twice\n## Twice\n[a](#a-page-one) [b](#twice-1) [c](https://example.org/#x)\n"
        "[d](#twice-2) [e](gone.md) [f](page.md#gone) `[g](code.md)`\n```\n[h](block.md)\n```\n"
    )
    assert broken(page) == ["#twice-2", "gone.md", "page.md#gone"]


def test_the_readme_leads_to_each_page() -> None:
    named = {(ROOT / target.partition("#")[0]).resolve() for target in targets(ROOT / "README.md")}
    assert [path.name for path in DOCUMENTS if path not in named | {ROOT / "README.md"}] == []


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_each_setting_of_the_example_stands_on_the_page_of_settings() -> None:
    names = re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    page = (ROOT / "docs" / "settings.md").read_text()
    assert names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_security_and_the_guards_lead_to_each_other() -> None:
    assert "docs/guards.md" in targets(ROOT / "SECURITY.md")
    assert "../SECURITY.md" in targets(ROOT / "docs" / "guards.md")
