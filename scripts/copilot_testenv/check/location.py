"""Find the key of a manifest that Copilot's own words are about, and the column of a finding's key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.check.document import Document, entries, line_of

Keys = tuple[str | int, ...]
_QUOTED = re.compile(r'"([^"]+)"|`([^`]+)`|validate (\w+\[\d+\]):')
_CONDITION = re.compile(r'(?<= if )".+?(?= (?:is|are) specified)')
# What Copilot refuses without the name of the key, and the key.
# Source: internal/pkg/manifest/validate.go and validate_env.go of aws/copilot-cli 1.34
_UNNAMED: Mapping[str, tuple[str, ...]] = {
    "limit security group ingress to CloudFront": ("http", "public", "ingress", "cdn"),
    "internal ALB": ("http", "private", "subnets"),
    "App Runner services can only build": ("platform",),
    "validate Windows": ("platform",),
    "more than one managed volume": ("storage", "volumes"),
    "same availability zones": ("network", "vpc", "subnets"),
    "does not match number of AZs": ("network", "vpc", "subnets"),
}
_PART = re.compile(r"\[(\d+)\]|([\w-]+)")
_WORD = re.compile(r"[\w./:@*-]{2,}")
_LEADING = re.compile(r"\s*(- +)*")
_NUMBER = re.compile(r"(?<![\w.\[\"/-])\d+(?![\w.\]\"/-])")
_HOLDERS = (("sidecars",), ("network", "vpc"))  # whose names Copilot leaves out
_COMMON = frozenset(
    {"validate", "manifest", "environment", "service", "unmarshal", "for", "the", "to", "is", "of"}
)
_TYPED = re.compile(r"line (\d+): cannot unmarshal !!(\w+)(?: `[^`]*`)? into")
_DEEPEST = 50
_LONGEST = 4096  # letters of a line that is searched


def of_verdict(document: Document, environments: list[str], why: str) -> int:
    """Return the line of the key that Copilot names, as far as it can be followed; else of what it quotes.

    An environment's own block counts before the base, because it is laid over that.
    """
    if unnamed := _unnamed(document, environments, why):
        return unnamed
    tokens = [found[1] or found[2] or found[3] for found in _QUOTED.finditer(why)]
    tokens = [token for token in tokens if token not in environments]
    if "more than five conditions" in why:
        tokens.append("alias")
    numbers = _NUMBER.findall(why)
    missing = re.search(r'"([^"]+)" must be specified|must specify one of "([^"]+)"', why)
    if missing and (name := missing[1] or missing[2]) in tokens[1:]:
        condition = _CONDITION.search(why)
        others = [found[1] for found in _QUOTED.finditer(condition[0])] if condition else []
        tokens, numbers = [*tokens[: tokens.index(name)], *others], []
    blocks: list[Keys] = [("environments", name) for name in environments]
    followed = [_chain(document, begin, tokens) for begin in (*blocks, ())]
    best = max(followed, key=lambda chain: (chain[0], len(chain[1])))
    if best[0]:
        equal = [keys for count, keys in followed if count == best[0]]
        within = (_within(document, keys, [*tokens[1:], *numbers]) for keys in equal)
        return next((line for line in within if line), document.line(*best[1]))
    if found := _TYPED.search(why):
        return _of_type(document, int(found[1]), found[2])
    if missing:
        return document.line("type")  # of a block that is not there
    single: Keys = ("environments", environments[0]) if len(environments) == 1 else ()
    return _of_value(document, why) or document.line(*single)


def begins_with_tab(file: Path, line: int) -> bool:
    """Return True if there is a tab in a line's indentation."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(re.match(r" *\t", lines[line - 1])) if line <= len(lines) else False


def of_yaml(file: Path, why: str) -> int:
    """Return the line at which a file stops being YAML, by the parser's words and the file's quotes.

    The parser names where it began to read something, such as a bracket, and where it had to give up, which
    may be many lines below.
    """
    named = [int(number) for number in re.findall(r"line (\d+), column", why)]
    if not named:
        return 1
    if ("flow" in why or "scanning" in why) and "tab character" not in why:
        return named[0]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()[: named[-1]]
    except (OSError, UnicodeDecodeError):
        return named[-1]
    opened = (
        number
        for number, line in enumerate(lines, 1)
        for quote in "\"'"
        if re.match(rf"[^#'\"]*[:\-\[,] *{quote}", line) and line.count(quote) % 2
    )
    return next(opened, named[-1])


def below(root: yaml.Node, keys: Sequence[str]) -> int:
    """Return the line of the last of these keys that the document has; the others may be CloudFormation's."""
    node, line = root, line_of(root)
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = line_of(node)
        elif isinstance(node, yaml.MappingNode):
            found = next(((written, value) for name, written, value in entries(node) if name == key), None)
            if not found:
                continue
            line, node = line_of(found[0]), found[1]
    return line


def _within(document: Document, keys: Keys, tokens: list[str]) -> int:
    """Return the line of a value, else of a key, below these keys that Copilot quotes; 0 if there is none."""
    node = document.node(*keys)
    if node is None:
        return 0
    for with_keys in (False, True):
        for word, line in _words(node, with_keys=with_keys):
            if word in tokens and word not in keys:
                return line
    return 0


def _unnamed(document: Document, environments: list[str], why: str) -> int:
    """Return the line of what Copilot refuses without its key; 0 where that is not known."""
    keys: Keys = next((each for words, each in _UNNAMED.items() if words in why), ())
    blocks = [keys, *(document.nearest(name, *keys) for name in environments)]
    value = document.get(*blocks[-1]) if keys else None
    if value is None:
        return 0
    return document.line(*blocks[-1], *(_wrong_zone(value) if keys[-1] == "subnets" else _second(value)))


def _second(volumes: Any) -> Keys:
    """Return the keys of the last volume that Copilot would manage; none where this is no volumes."""
    listed = volumes.items() if isinstance(volumes, dict) else ()
    found = [(name, each.get("efs")) for name, each in listed if isinstance(each, dict)]
    managed = [name for name, efs in found if efs is True or (isinstance(efs, dict) and "uid" in efs)]
    return (managed[-1], "efs") if managed else ()


def _wrong_zone(subnets: Any) -> Keys:
    """Return the keys of the subnet without a zone, else of the last zone that is there once."""
    found = [
        ((kind, number), str(subnet.get("az") or ""))
        for kind, listed in (subnets.items() if isinstance(subnets, dict) else ())
        for number, subnet in enumerate(listed if isinstance(listed, list) else ())
        if isinstance(subnet, dict)
    ]
    zones = [zone for _, zone in found]
    alone = [(zone, keys) for keys, zone in found if zones.count(zone) == 1]
    without = [keys for keys, zone in found if not zone]
    return without[0] if without else (*max(alone)[1], "az") if alone else ()


def _of_type(document: Document, number: int, tag: str) -> int:
    """Return the line of the value of this type that is nearest to a line without the blank ones."""
    lines = [line for line, text in enumerate(document.text.splitlines(), 1) if text.strip()]
    near = lines[min(number, len(lines)) - 1]
    typed = [line for kind, line in _values(document.root) if kind == f"tag:yaml.org,2002:{tag}"]
    return min(typed, key=lambda line: abs(line - near), default=near)


def _values(node: yaml.Node, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the type of each value with the line of its key; see `_words` for the depth."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _values(item, depth + 1)
    elif isinstance(node, yaml.MappingNode) and depth < _DEEPEST:
        for _, key, value in entries(node):
            yield value.tag, line_of(key)
            yield from _values(value, depth + 1)


def _chain(document: Document, begin: Keys, tokens: list[str]) -> tuple[int, Keys]:
    """Return how many tokens lead on, each from where the one before it led, and the last place."""
    keys, count = begin, 0
    for token in tokens:
        parts = [int(number) if number else name for number, name in _PART.findall(token)]
        held = document.get(*keys)
        below = [(*keys, name) for name in held] if isinstance(held, dict) else []
        inner = below if count else [(*begin, *holder) for holder in _HOLDERS]
        for base in dict.fromkeys([keys, begin, *inner]):
            if parts and (candidate := _follow(document, (*base, *parts))) is not None:
                keys, count = candidate, count + 1
                break
    return count, keys


def _follow(document: Document, keys: Keys) -> Keys | None:
    """Return the keys if they lead to something; `None` if they do not."""
    holder = document.get(*keys[:-1]) if keys else None
    if isinstance(holder, dict) and keys[-1] in holder:
        return keys
    return keys if isinstance(holder, list) and isinstance(keys[-1], int) and keys[-1] < len(holder) else None


def _of_value(document: Document, why: str) -> int:
    """Return the line of the rarest value or key that Copilot repeats; 0 where it repeats none."""
    found_words = {word.strip(".,:") for word in _WORD.findall(why)}
    words = {*found_words, *(part for word in found_words for part in word.split("/"))} - _COMMON
    lines: dict[str, list[int]] = {}
    for word, line in _words(document.root):
        if word in words and word != str(document.get("name")):
            lines.setdefault(word, []).append(line)
    # A word of Copilot's own may stand in the manifest too, so a short one says little.
    rare = sorted((len(found), -len(word), found[0]) for word, found in lines.items())
    return rare[0][2] if rare else 0


def _words(node: yaml.Node, depth: int = 0, *, with_keys: bool = True) -> Iterator[tuple[str, int]]:
    """Yield each key and value with its line; aliases that lead back are followed no further than 50 deep."""
    if isinstance(node, yaml.ScalarNode):
        yield str(node.value), line_of(node)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _words(item, depth + 1, with_keys=with_keys)
    elif isinstance(node, yaml.MappingNode) and depth < _DEEPEST:
        for name, key, value in entries(node):
            if with_keys:
                yield name, line_of(key)
            yield from _words(value, depth + 1, with_keys=with_keys)


def column(line: str, what: str) -> int:
    """Return the column, from 1, of the key that a finding names in this line; else where its text begins."""
    line = line[:_LONGEST]
    begin = _LEADING.match(line)
    for word in dict.fromkeys(re.findall(r"[\w-]+", what)):
        found = re.search(rf"(?<![\w-])['\"]?{re.escape(word)}['\"]?\s*:", line)
        if found:
            return found.start() + 1
    return (begin.end() if begin else 0) + 1
