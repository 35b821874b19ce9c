"""The documents: each link and each anchor leads somewhere, and the README leads to each page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_testenv import cli
from copilot_testenv.core import documents
from copilot_testenv.core.errors import UsageError

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


SOURCES = ROOT / "scripts"


def texts(path: Path) -> Iterator[str]:
    """The strings of a module, but for docstrings."""
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    described = {id(node.body[0].value) for node in owners if isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.value


def test_a_message_names_a_document_by_what_is_there_where_the_tasks_are_installed() -> None:
    modules = [file for file in SOURCES.rglob("*.py") if file.name not in {"documents.py", "reference.py"}]
    assert len(modules) > 100
    named = [
        f"{file.relative_to(ROOT)}: {text}"
        for file in [*modules, ROOT / "tasks.py"]
        for text in texts(file)
        if re.search(r"\bdocs/[\w-]+(?:\.md|/)", text) and "://" not in text
    ]
    assert named == []


def test_each_document_that_a_message_names_is_there_with_its_section(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call = re.compile(r"""documents\.(?:page|command)\(["']([^"']+)["']\)""")
    named = {name for file in SOURCES.rglob("*.py") for name in call.findall(file.read_text())}
    assert len(named) > 10
    for name in named:
        file, _, anchor = name.partition("#")
        text = documents.text(name)
        assert text.count("\n") > 5
        assert not anchor or anchor in anchors(ROOT / "docs" / file)
        assert not anchor or documents._anchor(text.split("\n")[0].lstrip("# ")) == anchor
        assert documents.page(name) == f"docs/{name}"
    monkeypatch.setattr(documents, "_IN_CLONE", tmp_path / "docs")
    assert documents.page("ci.md") == "`copilot-testenv docs ci.md`"


def test_a_section_ends_where_the_next_one_of_its_rank_begins() -> None:
    section = documents.text("stack.md#tests-database")
    assert section.startswith("## Test")
    assert "\n## " not in section
    assert documents.text("ci") == documents.text("ci.md")


def test_the_command_prints_a_document_and_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["docs"]) == 0
    listed = capsys.readouterr().out.split()
    assert {"ci.md", "iam/check-account.json"} <= set(listed)
    assert cli.main(["docs", "failures"]) == 0
    assert capsys.readouterr().out.startswith("# When a deploy fails")
    assert cli.main(["docs", "../README"]) == 1
    assert "There is no document '../README'" in capsys.readouterr().err
    with pytest.raises(UsageError):
        documents.text("/etc/passwd")
