"""Digest the code that a rule runs, so that a golden copy of an earlier rule is not taken for a new one's.

A function's digest has its own code, its defaults, the values in its closure, and, as far as they are the
project's, the functions, classes and constants that it names, with theirs. Of a library it has the version.
Comments and the place in the file do not count.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib
import importlib.metadata
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_DEEPEST = 60  # objects within objects
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))
_LIBRARIES = tuple(
    str(Path(path).resolve()) + "/"
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def of(call: object) -> str:
    """Return a digest of what a callable runs, the same in each process; it changes with the code."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for part in _Walk().parts(call, 0):
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def of_files(*modules: str) -> str:
    """Return a digest of the source of these modules beside this one."""
    digest = hashlib.sha256()
    for name in modules:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


class _Walk:
    """Visits each object once; `parts` are texts."""

    def __init__(self) -> None:
        self._seen: dict[int, object] = {}  # the objects too, so that no id is used again

    def parts(self, found: Any, depth: int) -> Iterator[str]:
        if isinstance(found, _PLAIN):
            yield f"{type(found).__name__} {found!r}"
            return
        if id(found) in self._seen or depth > _DEEPEST:
            yield "seen"
            return
        self._seen[id(found)] = found
        yield type(found).__qualname__
        yield from self._inside(found, depth + 1)

    def _inside(self, found: Any, depth: int) -> Iterator[str]:
        if isinstance(found, CodeType):
            yield from self._code(found, depth)
        elif isinstance(found, functools.partial):
            yield from self.parts((found.func, found.args, found.keywords), depth)
        elif isinstance(found, MethodType):
            yield from self.parts((found.__func__, found.__self__), depth)
        elif isinstance(found, (list, tuple)):
            for each in found:
                yield from self.parts(each, depth)
        elif isinstance(found, (set, frozenset)):
            yield from sorted("/".join(_Walk().parts(each, depth)) for each in found)
        elif isinstance(found, dict):
            for key, value in found.items():
                yield from self.parts(key, depth)
                yield from self.parts(value, depth)
        elif isinstance(found, ModuleType):
            yield f"{found.__name__} {_version(found.__name__)}"
        else:
            yield from self._project_s(found, depth)

    def _project_s(self, found: Any, depth: int) -> Iterator[str]:
        """Yield the parts of a function, a class or an object; of a library's its name and version."""
        if isinstance(wrapped := getattr(found, "__wrapped__", None), FunctionType):
            yield from self.parts(wrapped, depth)
        kind = found if isinstance(found, (FunctionType, type)) else type(found)
        module = str(getattr(kind, "__module__", ""))
        name = getattr(found, "__qualname__", type(found).__qualname__)
        yield f"{getattr(found, '__module__', module)}.{name}"
        if _is_a_library_s(module):
            yield _version(module)
            yield from () if found is kind else self._value(found, depth)
        elif isinstance(found, FunctionType):
            yield from self.parts(found.__code__, depth)
            yield from self.parts((found.__defaults__, found.__kwdefaults__), depth)
            yield from self.parts([_content(cell) for cell in found.__closure__ or ()], depth)
            yield from self._named(found.__code__, found.__globals__, depth)
        elif isinstance(found, type):
            for base in found.__mro__[1:]:
                yield from self.parts(base, depth)
            for key, value in sorted(vars(found).items()):
                if not key.startswith("__") or isinstance(_function_of(value), FunctionType):
                    yield key
                    yield from self.parts(_function_of(value), depth)
        else:
            yield from self.parts(type(found), depth)
            yield from self.parts(getattr(found, "__dict__", None) or {}, depth)

    def _value(self, found: Any, depth: int) -> Iterator[str]:
        """Yield what tells an object of a library's class from others, if that can be said."""
        if isinstance(found, re.Pattern):
            yield from self.parts((found.pattern, found.flags), depth)
        elif " at 0x" not in (text := repr(found)):
            yield text

    def _code(self, code: CodeType, depth: int) -> Iterator[str]:
        yield code.co_code.hex()
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags))
        yield from self.parts(list(code.co_consts), depth)

    def _named(self, code: CodeType, names: dict[str, Any], depth: int) -> Iterator[str]:
        """Yield what a function's code names: globals, and attributes of the project's modules."""
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from self._named(inner, names, depth)
        for name in code.co_names:
            if name in names:
                yield name
                yield from self.parts(names[name], depth)
                yield from self._through(names[name], code, depth)
        for module in _imported(code, str(names.get("__package__") or "")):
            yield from self._through(module, code, depth)

    def _through(self, module: Any, code: CodeType, depth: int) -> Iterator[str]:
        """Yield what the code names of a module of the project, or of modules in it."""
        if not isinstance(module, ModuleType) or _is_a_library_s(module.__name__) or depth > _DEEPEST:
            return
        for name in sorted(set(code.co_names) & vars(module).keys()):
            value = vars(module)[name]
            yield from self.parts(value, depth)
            if value is not module:
                yield from self._through(value, code, depth + 1)


def _imported(code: CodeType, package: str) -> Iterator[ModuleType]:
    """Yield the modules that a function itself imports."""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            for name in (f"{package}.{step.argval}" if step.argval else package, step.argval):
                with suppress(Exception):  # it is the other one, or calling the function says what is wrong
                    yield importlib.import_module(name)


def _function_of(value: Any) -> Any:
    if isinstance(value, property):
        return (value.fget, value.fset)
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else value


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None


def _is_a_library_s(module: str) -> bool:
    """Return True for a module of Python itself or of an installed package."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is None:  # built in, or a namespace package
        return loaded is None or not hasattr(loaded, "__path__")
    place = str(Path(file).resolve())
    return place.startswith(_LIBRARIES) or "/site-packages/" in place or "/dist-packages/" in place


@functools.cache
def _version(module: str) -> str:
    """Return the version of the package that has a module; empty if nobody says it."""
    top = module.partition(".")[0]
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(top), "__version__", ""))
