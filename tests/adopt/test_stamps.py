"""Stamps: what `adopt` has written is found again, byte for byte, and told from what its owner has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_testenv.adopt import stamps

_LINE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20).filter(
    lambda line: "copilot-testenv" not in line
)
_TEXT = st.lists(_LINE).map(lambda lines: "".join(f"{line}\n" for line in lines))
_INDENT = st.sampled_from(["", "  ", "\t", "    "])
_END = st.sampled_from(["\n", "\r\n"])


@given(before=_TEXT, body=_TEXT, behind=_TEXT, indent=_INDENT)
def test_a_block_is_found_wherever_it_stands(before: str, body: str, behind: str, indent: str) -> None:
    text = before + stamps.block(body, indent) + behind
    found = stamps.find(text)
    assert found
    assert (found.body, found.indent, found.is_edited) == (body, indent, False)
    assert (found.is_whole, found.is_open) == (False, False)
    assert text[: found.start] == before
    assert text[found.end :] == behind


@given(body=_TEXT, new=_TEXT, end=_END)
def test_a_file_of_ours_is_found_and_replaced_as_a_whole(body: str, new: str, end: str) -> None:
    text = stamps.whole(body)
    found = stamps.find(text)
    assert found
    assert (found.body, found.is_whole, found.is_edited) == (body, True, False)
    assert found.replaced(text.replace("\n", end), new) == stamps.whole(new).replace("\n", end)


@given(before=_TEXT, body=_TEXT, behind=_TEXT, new=_TEXT, indent=_INDENT, end=_END)
def test_a_replaced_block_leaves_every_other_byte_and_the_line_ends(
    before: str, body: str, behind: str, new: str, indent: str, end: str
) -> None:
    text = before + stamps.block(body, indent) + behind
    found = stamps.find(text)
    assert found
    after = found.replaced(text.replace("\n", end), new)
    assert after == (before + stamps.block(new, indent) + behind).replace("\n", end)
    again = stamps.find(after.replace("\r\n", "\n"))
    assert again
    assert (again.body, again.is_edited) == (new, False)


@given(lines=st.lists(st.tuples(_LINE, _END)), new=_TEXT, data=st.data())
def test_what_is_put_into_a_text_of_both_line_ends_changes_none_of_them(
    lines: list[tuple[str, str]], new: str, data: st.DataObject
) -> None:
    whole = [line + end for line, end in lines]
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, len(whole)))
    plain = [line + "\n" for line, _ in lines]
    start, end = len("".join(plain[:first])), len("".join(plain[:last]))
    text = "".join(whole)
    after = stamps.spliced(text, start, end, new)
    head, tail = "".join(whole[:first]), "".join(whole[last:])
    assert after.startswith(head)
    assert after.endswith(tail)
    assert after[len(head) : len(after) - len(tail)].replace("\r\n", "\n") == new


@given(body=_TEXT, other=_TEXT)
def test_an_edited_body_is_told_by_its_digest(body: str, other: str) -> None:
    found = stamps.find(stamps.block(body).replace(body, other, 1) if body else stamps.block(body))
    assert found
    assert found.is_edited == (found.body != body)


@given(text=_TEXT)
def test_a_text_without_a_stamp_has_no_block(text: str) -> None:
    assert stamps.find(text) is None


@given(before=_TEXT.filter(bool), body=_TEXT, behind=_TEXT)
def test_a_block_without_its_last_line_is_open(before: str, body: str, behind: str) -> None:
    text = before + stamps.block(body) + behind
    found = stamps.find(text.replace("# end of copilot-testenv\n", ""))
    assert found
    assert (found.is_open, found.is_whole) == (True, False)


@pytest.mark.parametrize("text", [stamps.whole("x\n"), stamps.block("x\n")])
def test_no_line_of_a_stamp_is_longer_than_linters_want(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 79
