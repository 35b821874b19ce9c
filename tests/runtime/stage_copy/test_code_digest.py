"""A golden copy belongs to the code of its rules: another code asks for another copy."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_testenv.stage_copy import code_digest
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.golden import GoldenCopy
from django_testenv.stage_copy.options import Options

HELPERS = "SALT = 3\ndef helper(value):\n    return value[::-1]\n"
RULES = """
import functools, re, json
from digested_helpers import helper
import digested_helpers

PATTERN = re.compile("a+")
WORDS = {"x", "y", "z", "w"}
TABLE = {"a": 1}

def plain(value): return value.upper()
def calls(value): return helper(value)
def by_module(value): return digested_helpers.helper(value) + str(digested_helpers.SALT)
def inside(value):
    from digested_helpers import helper as mine
    return mine(value)
def constants(value): return PATTERN.sub("", value) if value in WORDS or value in TABLE else "b"
def made(add):
    def closure(value): return value + add
    return closure
closed = made("c")
partial = functools.partial(lambda a, value: a + value, "p")
lambda_ = lambda value, end="d": value + end
class Rule:
    suffix = "s"
    def __init__(self): self.mine = "m"
    def __call__(self, value): return value + self.suffix + self.mine
    def method(self, value): return helper(value)
instance = Rule()
method = instance.method
@functools.lru_cache(maxsize=None)
def cached(value): return value + "e"
def of_library(value): return json.dumps(value)
"""


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def read(old: str = "", new: str = "") -> dict[str, str]:
        (tmp_path / "digested_helpers.py").write_text(HELPERS.replace(old, new) if old else HELPERS)
        (tmp_path / "digested_rules.py").write_text(RULES.replace(old, new) if old else RULES)
        for name in ("digested_helpers", "digested_rules"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        module = importlib.import_module("digested_rules")
        return {name: code_digest.of(getattr(module, name)) for name in NAMES}

    return read


NAMES = ("plain", "calls", "by_module", "inside", "constants", "closed", "partial", "lambda_", "instance",
         "method", "cached", "of_library")  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("value.upper()", "value.lower()", {"plain"}),
        ("value[::-1]", "value[::2]", {"calls", "by_module", "inside", "method", "instance"}),
        ("SALT = 3", "SALT = 4", {"by_module"}),
        ('compile("a+")', 'compile("b+")', {"constants"}),
        ('"w"}', '"v"}', {"constants"}),
        ('"a": 1', '"a": 1, "b": 2', {"constants"}),
        ('made("c")', 'made("C")', {"closed"}),
        ('"p")', '"P")', {"partial"}),
        ('end="d"', 'end="D"', {"lambda_"}),
        ('suffix = "s"', 'suffix = "S"', {"instance", "method"}),
        ('mine = "m"', 'mine = "M"', {"instance", "method"}),
        ('value + "e"', 'value + "E"', {"cached"}),
        ("def plain(value): ", "# a comment\n\ndef plain(value): ", set()),
    ],
)
def test_a_digest_changes_with_all_that_the_function_runs_and_with_nothing_else(
    digests: Callable[..., dict[str, str]], old: str, new: str, changed: set[str]
) -> None:
    before, after = digests(), digests(old, new)
    assert {name for name in NAMES if before[name] != after[name]} == changed


def test_a_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "digested_helpers.py").write_text(HELPERS)
    (tmp_path / "digested_rules.py").write_text(RULES)
    places = [str(tmp_path), str(Path(code_digest.__file__).parents[2])]
    program = (
        f"import sys; sys.path[:0] = {places!r}; import digested_rules as r; "
        "from django_testenv.stage_copy import code_digest as c; "
        f"print([c.of(getattr(r, n)) for n in {NAMES!r}])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_golden_copy_has_another_name_when_the_code_of_a_rule_changes() -> None:
    def name(rule: Any) -> str:
        options = Options.read({"mask": {"a.b": rule}, "golden": {}}, key="made-up")
        info: Any = type("Server", (), {"info": type("Info", (), {"user": "tester"})})
        golden = GoldenCopy.of(Database("stage", {"dbname": "s"}), info, options)
        assert golden
        return golden.name

    def first() -> Callable[[str], str]:
        def rule(value: str) -> str:
            return value[:1]

        return rule

    def second() -> Callable[[str], str]:
        def rule(value: str) -> str:
            return value[:2]

        rule.__qualname__ = first().__qualname__
        return rule

    assert name(first()) == name(first())
    assert name(first()) != name(second())
