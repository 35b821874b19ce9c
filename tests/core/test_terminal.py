from __future__ import annotations

import io

import pytest

from copilot_testenv.core.terminal import Patience, Terminal, fitted


def test_who_waits_is_told_now_and_then_and_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    told: list[str] = []
    patience = Patience(told.append, "the stack is being changed")
    for clock[0] in (101.0, 129.0, 130.0, 131.0, 159.0, 161.0):
        patience.tell()
    assert told == [
        "  still waiting: the stack is being changed (30 s)",
        "  still waiting: the stack is being changed (61 s)",
    ]


class Narrow(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, columns: int, stream: io.StringIO) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", stream)
    row = ("feature/checkout", "c0ffee", "http://web-feature-checkout.test.demo.example.com:8080/", "")
    Terminal().table("web in test", ("branch", "commit", "URL", "state"), [row, row])
    return stream.getvalue().splitlines()


def test_a_row_is_a_block_where_a_table_would_break_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, 80, Narrow())
    assert lines[:5] == [
        "web in test",
        "",
        "feature/checkout",
        "  commit  c0ffee",
        "  URL     http://web-feature-checkout.test.demo.example.com:8080/",
    ]
    assert (len(lines), lines[-1]) == (10, "")  # another table may follow


@pytest.mark.parametrize(("columns", "stream"), [(160, Narrow), (80, io.StringIO)])
def test_it_is_a_table_where_there_is_room_and_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, columns: int, stream: type[io.StringIO]
) -> None:
    lines = printed(monkeypatch, columns, stream())
    assert any("feature/checkout" in line and "http://web-feature-checkout.test" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a sentence of more words than fit", ["a sentence of more", "words than fit"]),
        ("  a note of more words than fit", ["  a note of more", "    words than fit"]),
        ("run `invoke open -b x` to open it", ["run", "`invoke open -b x`", "to open it"]),
        ("  `invoke open -b feature/x`", ["  `invoke open -b feature/x`"]),
        ("at http://localhost:36517/a/b/c now", ["at", "http://localhost:36517/a/b/c", "now"]),
        ("a\n  b  c", ["a", "  b  c"]),
        ("", [""]),
    ],
)
def test_a_message_is_broken_between_words_and_never_within_an_address_or_a_command(
    monkeypatch: pytest.MonkeyPatch, text: str, rows: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stderr", Narrow())
    assert fitted(text).split("\n") == rows
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert fitted(text) == text  # a program reads it
