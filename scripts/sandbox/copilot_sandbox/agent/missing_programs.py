"""Finds the programs that a container's command calls and that neither its image nor this machine has.

Without an engine no apt-get is carried out, so what it would install has to be on this machine. A script says
that only when it comes to the program, perhaps after minutes.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import shutil
from typing import TYPE_CHECKING

from copilot_sandbox.agent.script_paths import scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_sandbox.model import Image

_LONGEST = 8192  # characters of a text; a branch wrote it, and the expressions below take their time
_SHELLS = frozenset({"ash", "bash", "dash", "sh"})
_COMMENT_OR_TEXT = re.compile(
    r"(?m)\\\n|'[^']*'|\"(?:[^\"\\]|\\.)*\"|(?:^|(?<=\s))#.*$|<<-?\s*['\"]?(?P<end>\w+)['\"]?(?s:.*?)^\s*(?P=end)$"
)
# A word where a command begins; what follows it tells a pattern of `case` and a definition apart.
_CALLED = re.compile(
    r"(?:^|[;&|()`\n])[ \t]*(?:(?:!|\{|do|elif|else|exec|if|then|time|until|while)\s+)*"
    r"(?:[A-Za-z_]\w*=\S*[ \t]+)*(?P<name>[a-z][\w.+-]*)(?=[\s;&|]|$)(?![ \t]*(?:\(|\)|\|\S*\)))"
)
_ASKED = re.compile(r"\b(?:command\s+-[vV]|which|type|hash)\s+(?P<name>[\w.+-]+)")
_DEFINED = re.compile(r"(?:^|[\s;])(?:function\s+)?(?P<name>[\w-]+)\s*\(\)|\balias\s+(?P<alias>[\w-]+)=")
_READS_ANOTHER = re.compile(r"(?:^|[;&|\n])\s*(?:\.|source)\s")
# Words of the shell itself, in which a command may begin.
_OF_SHELLS = frozenset({
    "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "declare", "dirs", "disown",
    "do", "done", "echo", "elif", "else", "enable", "esac", "eval", "exec", "exit", "export", "false",
    "fg", "fi", "for", "function", "getopts", "hash", "help", "history", "if", "in", "jobs", "kill",
    "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read", "readarray",
    "readonly", "return", "select", "set", "shift", "shopt", "source", "suspend", "test", "then", "time",
    "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait",
    "while",
})  # fmt: skip


def missing(words: Sequence[str], image: Image, path: str) -> list[str]:
    """Return the programs that a command calls and that are not found on the container's PATH `path`."""
    texts = scripts(words, image)
    if len(words) > 1 and posixpath.basename(words[0]) in _SHELLS:
        texts += [text for flag, text in itertools.pairwise(words) if re.fullmatch(r"-\w*c", flag)][:1]
    elif words and "/" not in words[0]:
        texts.append(words[0])
    names = dict.fromkeys(name for text in texts for name in _called(text))
    return [name for name in names if not _is_there(name, image, path)]


def note(names: Sequence[str]) -> str | None:
    """Return what to say of missing programs to someone who waits for the container."""
    if not names:
        return None
    return (
        f"it calls {', '.join(names)}, which this machine does not have: without an engine, what a "
        "Dockerfile installs by other ways than Python's has to be on this machine"
    )


def _called(text: str) -> list[str]:
    if len(text) > _LONGEST or _READS_ANOTHER.search(text):  # another file may define what is called
        return []
    plain = _COMMENT_OR_TEXT.sub(" ", text)
    own = {name for found in _DEFINED.finditer(plain) for name in found.groups() if name}
    asked = {found["name"] for found in _ASKED.finditer(plain)}
    called = (found["name"] for found in _CALLED.finditer(plain))
    return [name for name in called if name not in {*_OF_SHELLS, *own, *asked}]


def _is_there(name: str, image: Image, path: str) -> bool:
    folders = [posixpath.join(image.workdir, each) for each in image.env.get("PATH", "").split(":") if each]
    return shutil.which(name, path=path) is not None or any(
        (image.root / folder.lstrip("/") / name).exists() for folder in folders
    )
