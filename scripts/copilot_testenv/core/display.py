"""Make text from other sources safe to show to a person.

The result cannot move the cursor, reverse the order of letters, imitate a line of these tasks, give GitHub a
command or show a secret. Text from AWS, Git or a container passes through `line` where it is read. Everything
that is shown passes through `seen` or `block` as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

LONGEST = 1000  # letters of one name or reason that are shown
_CUT = "…"
# Colours, cursor movements and titles of a terminal. Source: ECMA-48, 5.4 and 5.6.
_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?")
# Text that GitHub's runner takes for a command, with or without spaces before it.
# Source: src/Runner.Common/ActionCommand.cs of actions/runner.
_COMMANDS = re.compile(r"^([^\S\n]*):(?=:[^\n]*::)|#(?=#\[)", re.MULTILINE)
_MASK = "***"
_DATABASES = r"(?:postgres(?:ql)?|psql|mysql|mariadb|mssql|rediss?|valkeys?|amqps?|mongodb)(?:\+[a-z0-9]+)?"
# An address with a password, well-formed or not. A database's address is hidden completely: everything up to
# the last `@` of the line can belong to its password, and so can everything after the next `?` or `#`.
_DATABASE = re.compile(rf"(?i)\b{_DATABASES}:/+(?!user:password@)")
_CUT_OFF = re.compile(
    rf"(?i)\b({_DATABASES}:/+)(?!\*\*\*|user:password@)[^\s@:/]*:(?!\d{{1,5}}(?![^\s/?\"',.)]))[^\n\"'`]*"
)
_END = re.compile(r"[\s\"'`]|$")
# Repetitions are bounded: a container's output must not make matching slow.
_LOGINS = (
    re.compile(r"(?i)\b(https?://)[^\s/?#@]{1,500}@"),
    re.compile(
        r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)(?!user:password@)[^\s/?#@:]{0,200}:(?!\d{1,5}[/?#])[^\s@]{1,500}@"
    ),
)
_NAMED = re.compile(
    r"(?i)(?!(?-i:PWD)=/)((?:\b(?:pg|ssl)?password|\bpasswd|\bpwd|\baws_secret_access_key|\baws_session_token"
    r"|\bx-amz-(?:signature|security-token))\s*=\s*)(?!\*\*\*)(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s&,;'\")]+)"
)
_VALUE = r"(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s&,;'\")\]}]+)"
# What names the value of a secret, and is not secret itself: of Parameter Store or Secrets Manager.
_REFERENCE = r"[\"']?(?:/copilot/|arn:aws)"
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^\n]*(?:\n[ \t]*[A-Za-z0-9+/=]{1,200}(?=\s))*"
    r"(?:\n[ \t]*-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)


def _variables(names: str) -> tuple[re.Pattern[str], ...]:
    """Return patterns for the values of variables with these names, each with a group for what is shown.

    They match a line of `env`, `export -p` or Django's `diffsettings`, `NAME=value` within a line, and an
    entry of a dictionary.
    """
    name = rf"(?<![A-Za-z0-9_])(?:{names})"
    return (
        re.compile(rf"(?m)^(\s{{0,8}}(?:export |declare -x )?{name} ?= ?)(?!\*\*\*|{_REFERENCE})\S[^\n]*"),
        re.compile(rf"({name}=)(?!\*\*\*|{_REFERENCE}){_VALUE}"),
        re.compile(rf"(['\"]{name}['\"]\s?: ?)(?=['\"])(?!{_REFERENCE}){_VALUE}"),
    )


_OF_SECRETS = _variables(
    "[A-Z0-9_]{0,80}(?:_KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS|DATABASE_URL|DSN)"
)
_of_names: list[re.Pattern[str]] = []  # of `keep_names`
_known: set[str] = set()
_SECRET_NAMES = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|SECRET_KEY|ACCESS_KEY|API_KEY|DATABASE_URL)$")
_SHORTEST = (
    12  # letters of a secret that is searched for in every text; a shorter one can be an ordinary word
)


def line(text: str, longest: int = LONGEST) -> str:
    r"""Return any text as one line, of `longest` letters at most.

    Invisible letters become `\n`, `\x1b`, `\u202e`.
    """
    shown = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - len(_CUT)] + _CUT


def log_line(text: str) -> str:
    """Return one line of a log, without terminal sequences."""
    return line(_SEQUENCES.sub("", text).replace("\t", "    "), len(text) * 10)


def seen(text: str) -> str:
    """Return several lines, with tabs, without terminal sequences and other letters that move the cursor."""
    plain = _SEQUENCES.sub("", text)
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else _escaped(letter) for letter in plain
    )


def block(text: str) -> str:
    """Return the same as `seen`, also without secrets and without commands to GitHub's runner."""
    return masked(_COMMANDS.sub(lambda found: f"{found[1] or ''}\\x{ord(found[0][-1]):02x}", seen(text)))


def masked(text: str) -> str:
    """Return the text without passwords in addresses, private keys, and secrets of this run's settings.

    Nor does it have the values of variables whose names are those of secrets, or were given to `keep_names`.
    """
    for secret in _known:
        text = text.replace(secret, _MASK)
    if "@" in text:
        text = "\n".join(_without_addresses(row) for row in text.split("\n"))
    text = _CUT_OFF.sub(rf"\1{_MASK}", text)
    for login in _LOGINS:
        text = login.sub(rf"\1{_MASK}@", text)
    if "PRIVATE KEY-----" in text:
        text = _PRIVATE_KEY.sub(_MASK, text)
    for named in (_NAMED, *_OF_SECRETS, *_of_names):
        text = named.sub(rf"\1{_MASK}", text)
    return text


def _without_addresses(text: str) -> str:
    """Return a line with the mask in place of everything from its first database address to its last `@`."""
    found, last = _DATABASE.search(text), text.rfind("@")
    if not found or last < found.end():
        return text
    end = _END.search(text, last)
    return text[: found.end()] + _MASK + (text[end.start() :] if end else "")


def has_secret(text: str) -> bool:
    """Return True if `masked` would change the text."""
    return masked(text) != text


def plain(value: Any) -> Any:
    """Return a document for JSON with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def json_text(text: str) -> str:
    """Return JSON with its invisible letters escaped; only strings can contain such letters."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text
    )


def keep_secret(name: str, value: str) -> None:
    """Make `masked` hide the value from now on, where the setting's name is that of a secret."""
    if _SECRET_NAMES.search(name.upper()) and len(value) >= _SHORTEST and not value.startswith("/"):
        _known.add(value)


def keep_names(names: Iterable[str]) -> None:
    """Make `masked` hide the values of variables with these names from now on."""
    if known := "|".join(map(re.escape, names)):
        _of_names[:] = _variables(known)


class Given(str):  # noqa: SLOT000 - there are a dozen settings: a dictionary for each costs nothing
    """A setting as the user wrote it. Its `repr`, which errors quote, shows no text that could be a secret.

    So a value in the wrong place, such as an address with a password where a name belongs, is not shown.
    """

    def __repr__(self) -> str:
        text = str(self)
        if len(text) > 60 or has_secret(text) or _LIKE_A_SECRET.search(text):  # noqa: PLR2004 - no name is longer
            return f"(a text of {len(text)} letters, which is not shown because it may contain a secret)"
        return repr(line(text))


# Text that no name contains: an address, or a key of letters, digits and signs.
_LIKE_A_SECRET = re.compile(r"://|@|(?=[^\s-]*\d)(?=[^\s-]*[A-Za-z])[A-Za-z0-9/+_=]{20,}")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def counted(number: int, noun: str) -> str:
    """Return "1 file" or "2 files" for a noun that takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
