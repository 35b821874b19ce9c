"""django-testenv runs on Python 3.9: neither syntax nor parts of the library that came later."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

RUNTIME = Path(__file__).resolve().parents[2] / "scripts/runtime"
FILES = sorted((RUNTIME / "django_testenv").rglob("*.py"))
# Of the standard library, what came after 3.9 and somebody may write without a thought.
LATER_NAMES = {
    "asyncio": {"Runner", "TaskGroup", "timeout"},
    "contextlib": {"aclosing", "chdir"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "verify", "member"},
    "hashlib": {"file_digest"},
    "inspect": {"get_annotations", "markcoroutinefunction"},
    "itertools": {"batched", "pairwise"},
    "operator": {"call"},
    "types": {"EllipsisType", "NoneType", "UnionType"},
    "typing": {
        "Concatenate", "LiteralString", "Never", "NotRequired", "ParamSpec", "Required", "Self", "TypeAlias",
        "TypeGuard", "TypeVarTuple", "Unpack", "assert_never", "assert_type", "override", "reveal_type",
    },
}  # fmt: skip
LATER_MODULES = {"tomllib", "zoneinfo._tzpath", "wsgiref.types", "compression"}
LATER_BUILTINS = {"BaseExceptionGroup", "EncodingWarning", "ExceptionGroup", "aiter", "anext"}
LATER_METHODS = {"add_note", "bit_count", "hardlink_to"}
LATER_KEYWORDS = {"dataclass": {"kw_only", "match_args", "slots", "weakref_slot"}, "zip": {"strict"}}


def later(text: str) -> Iterator[str]:
    """Yield what in a module's text is newer than Python 3.9, as `line: what`."""
    try:
        tree = ast.parse(text, feature_version=(3, 9))
    except SyntaxError as error:
        yield f"{error.lineno}: {error.msg}"
        return
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    annotations = {
        inner
        for node in ast.walk(tree)
        for name in ("annotation", "returns")
        if isinstance(found := getattr(node, name, None), ast.AST)
        for inner in ast.walk(found)
    }
    if "from __future__ import annotations" not in text:
        annotations = set()
    for node in ast.walk(tree):
        if node in for_types or node in annotations:
            continue
        if what := _later(node):
            yield f"{getattr(node, 'lineno', 0)}: {what}"


def _later(node: ast.AST) -> str:  # noqa: PLR0911  a case a kind
    match node:
        case ast.ImportFrom(module=module, names=names, level=0) if module:
            newer = {each.name for each in names} & LATER_NAMES.get(module, set())
            return f"{module}.{newer.pop()}" if newer else module if module in LATER_MODULES else ""
        case ast.Import(names=names):
            return next((each.name for each in names if each.name in LATER_MODULES), "")
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in LATER_NAMES.get(module, set()):
            return f"{module}.{name}"
        case ast.Attribute(attr=name) if name in LATER_METHODS:
            return f".{name}"
        case ast.Name(id=name) if name in LATER_BUILTINS:
            return name
        case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in LATER_KEYWORDS:
            newer = {each.arg or "" for each in keywords} & LATER_KEYWORDS[name]
            return f"{name}({newer.pop()}=)" if newer else ""
        case ast.BinOp(op=ast.BitOr(), left=left, right=right) if _is_type(left) or _is_type(right):
            return f"a union outside of an annotation: {ast.unparse(node)}"
    return ""


def _is_type(node: ast.AST) -> bool:
    """Return True for None, a built-in type, and what is subscribed as types are."""
    match node:
        case ast.Constant(value=None):
            return True
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return name in ("bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(RUNTIME)))
def test_a_module_has_nothing_newer_than_python_3_9(path: Path) -> None:
    assert list(later(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "match x:\n    case 1: pass",
        "try: pass\nexcept* OSError: pass",
        "def f[T](x: T): pass",
        "type A = int",
        "isinstance(x, int | str)",
        "Call = Callable[[str | None], str]",
        "def f(x: int | None): pass",  # without the import that makes text of it
        "@dataclass(slots=True)\nclass A: pass",
        "zip(a, b, strict=True)",
        "from datetime import UTC",
        "import datetime\ndatetime.UTC",
        "from enum import StrEnum",
        "from itertools import pairwise",
        "from typing import Self",
        "import tomllib",
        "raise ExceptionGroup('x', [])",
        "error.add_note('x')",
    ],
)
def test_what_is_newer_is_found(text: str) -> None:
    assert list(later(text))


def test_what_is_for_the_type_checker_alone_may_be_newer() -> None:
    text = "from __future__ import annotations\nif TYPE_CHECKING:\n    from typing import Self\n"
    assert list(later(f"{text}def f(x: int | None) -> list[str | None]: ...\nx: int | None = 1\n")) == []


def python_3_9() -> str | None:
    """The path of a Python 3.9 of this machine, as PATH, pyenv or uv has it."""
    home = Path.home()
    of_pyenv = home.glob(".pyenv/versions/3.9.*/bin/python")
    of_uv = home.glob(".local/share/uv/python/cpython-3.9*/bin/python3")
    for each in filter(None, (shutil.which("python3.9"), *map(str, (*of_pyenv, *of_uv)))):
        done = subprocess.run([each, "-c", ""], capture_output=True, check=False)
        if not done.returncode:
            return each
    return None


def test_a_real_python_3_9_compiles_all_and_imports_what_needs_no_django(tmp_path: Path) -> None:
    python = python_3_9()
    if python is None:
        pytest.skip("this machine has no Python 3.9; `nox -s runtime` gets one")
    names = ("database_url", "model", "options", "problems", "progress", "protection", "secret")
    imports = [f"django_testenv.stage_copy.{name}" for name in names]
    script = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    env = {"PYTHONPATH": str(RUNTIME), "PYTHONPYCACHEPREFIX": str(tmp_path), "PATH": os.environ["PATH"]}
    for words in (["-m", "compileall", "-q", str(RUNTIME)], ["-c", script, *imports]):
        done = subprocess.run([python, *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_distribution_says_what_is_tested_and_needs_django_only() -> None:
    project = tomllib.loads((RUNTIME / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.9"
    assert project["dependencies"] == ["Django>=3.2"]
    assert (RUNTIME / "LICENSE").read_bytes() == (RUNTIME.parents[1] / "LICENSE").read_bytes()
    assert (RUNTIME / "django_testenv/py.typed").exists()
