"""Return why a Postgres server or tool failed, without any value of a row and without passwords.

Postgres quotes values: in the message if a value is malformed, else in DETAIL and CONTEXT; a function of the
project may put any value into its messages. The code, table, column and constraint are kept.
Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import DiagnosticField as Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import pq

# Classes of errors whose messages quote values, or come from the project's own functions.
_OF_VALUES = ("21", "22", "2F", "38", "39", "P0", "HV")
# Lines of a CONTEXT which say that a function was running.
_OF_FUNCTION = re.compile(
    r"^(?:CONTEXT:\s*)?(?:PL/\w+|SQL) (?:function|trigger)|^(?:CONTEXT:\s*)?PL/", re.MULTILINE
)
# SQLSTATEs of a relation, function, type, operator class or schema that is not found.
NOT_FOUND = ("42P01", "42883", "42704", "3F000")
_UNQUALIFIED = (
    ": it may rely on search_path, which is empty in a copy, as it is where pg_dump's output is restored: "
    "qualify the names in it, or ALTER FUNCTION ... SET search_path"
)
_AT = re.compile(r"^COPY .*?, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)
# Words before a quoted name of the schema or server, which is not a value.
_NAMES = (
    "access method|aggregate|at|attribute|cast|class|collation|column|configuration|constraint|conversion|"
    "database|dictionary|domain|encoding|extension|family|file|function|host|index|language|locale|method|name|"
    "object|operator|owner|parameter|parser|policy|procedure|publication|relation|role|routine|rule|schema|"
    "sequence|server|socket|statistics|subscription|table|tablespace|template|trigger|type|user|view|wrapper"
)
_QUOTED = re.compile(rf'(?<![\w"])(?:(?P<kind>{_NAMES}) )?"(?P<name>[^"\n]*)"|(?<=: )\'')
_HIDDEN = "(what follows is not shown: it may be a value)"


def reason(error: Exception) -> str:
    """Return in one line why the server failed."""
    if isinstance(error, psycopg.Error) and (state := error.diag.sqlstate):
        diag = error.diag
        return _why(
            state,
            diag.message_primary or "",
            {"table": diag.table_name, "column": diag.column_name, "constraint": diag.constraint_name},
            diag.context or "",
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_values(" ".join(lines[0].removeprefix("connection failed: ").split()))


def of_result(result: pq.abc.PGresult) -> psycopg.Error:
    """Return a result's error with a message that quotes no value."""

    def part(field: Part) -> str:
        return (result.error_field(field) or b"").decode(errors="replace")

    state = part(Part.SQLSTATE)
    if not state:  # not the server's, but libpq's, which has lost the connection
        return psycopg.OperationalError(
            reason(psycopg.OperationalError(result.error_message.decode(errors="replace")))
        )
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:  # a function of the project raises its own code
        kind = psycopg.DatabaseError
    names = {"table": Part.TABLE_NAME, "column": Part.COLUMN_NAME, "constraint": Part.CONSTRAINT_NAME}
    return kind(
        _why(
            state,
            part(Part.MESSAGE_PRIMARY) or "the server gave no reason",
            {name: part(field) for name, field in names.items()},
            part(Part.CONTEXT),
        )
    )


def of_tool(errors: str) -> str:
    """Return the first error in the output of a Postgres tool, else its last line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    errors_only = [line for line in lines if re.search(r"\b(ERROR|FATAL|error):", line)]
    line = (errors_only or lines[-1:] or ["it printed nothing"])[0]
    if any(_OF_FUNCTION.match(each) for each in lines):
        return _of_function("")
    return without_values(re.sub(r"^(pg_dump: |pg_restore: )?(ERROR|FATAL|error):\s*", "", line))


def without_values(text: str) -> str:
    """Return the text up to the first quoted part that is not a name."""
    for found in _QUOTED.finditer(text):
        if not found["kind"]:
            return f"{text[: found.start()].rstrip()} {_HIDDEN}"
    return text


def _why(state: str, message: str, names: Mapping[str, str | None], context: str) -> str:
    where = "".join(f', {kind} "{name}"' for kind, name in names.items() if name)
    if at := _AT.search(context):
        column = "" if names.get("column") or not at[2] else f', column "{at[2]}"'
        where += f"{column}, row {at[1]} of those that were being sent"
    if _OF_FUNCTION.search(context):
        return _of_function(f" ({state}{where})") + (_UNQUALIFIED if state in NOT_FOUND else "")
    if state.startswith(_OF_VALUES) or not re.fullmatch("[0-9A-Z]{5}", state):
        return f"{_called(state)} ({state}{where}): the server's words are not shown, since they quote values"
    return without_values(" ".join((message.splitlines() or [""])[0].split()))


def _of_function(where: str) -> str:
    return f"a function of the project failed{where}: its words are not shown, since they may quote values"


def _called(state: str) -> str:
    """Return the name of an error code: "invalid text representation"."""
    try:
        name = psycopg.errors.lookup(state).__name__
    except KeyError:
        return "an error"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
