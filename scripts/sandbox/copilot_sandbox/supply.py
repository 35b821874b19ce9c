"""Supplies the values of secrets: the user's, AWS's, that of the sandbox's databases, or a made-up one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox import given, made_up
from copilot_sandbox.private import write_private

if TYPE_CHECKING:
    from copilot_sandbox.databases import Databases
    from copilot_sandbox.references import Reference

# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$")  # Secrets Manager ends a secret's ARN with it

_EXPORT = "/sandbox/exports/"


@dataclass(frozen=True)
class Stored:
    """A secret that Parameter Store (`is_parameter`) or Secrets Manager gets before anything is deployed."""

    name: str
    value: str
    environment: str
    is_parameter: bool


class Supply:
    """Finds a value for a variable of a container. Safe from any thread.

    `aws` returns the variables with which a program in a container reaches the embedded AWS.
    """

    def __init__(
        self,
        root: Path,
        databases: Databases,
        state: Path,
        aws: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._root = root
        self._databases = databases
        self._aws = aws
        self._file = state / "made-up.json"
        self.secret_exports: set[str] = set()  # those that manifests import as secrets
        self.database_secrets: set[str] = set()  # names of those that addons make for their databases
        self.addon_secrets: set[str] = set()  # names of all secrets and parameters that addons make
        self._lock = threading.Lock()

    def secret(self, variable: str, reference: str, environment: str, stored: str | None) -> str | None:
        """Return the value of a secret; `stored` is AWS's own, if there is one. None if there is no value.

        `reference` is the name or ARN in the task definition. A database's address is never the user's: it
        leads to a database of the sandbox.
        """
        if not self._database_part(variable, reference):
            values, _ = given.read(self._root)
            for name in (*_names(reference), variable):
                if name in values:
                    return values[name]
        return self._invent(variable, reference, environment) if stored is None else stored

    def for_task(
        self, variable: str, reference: str, environment: str, stored: str | None
    ) -> tuple[str | None, str]:
        """Return a task's secret, and a note if it has no value, or one that is newly made up."""
        value = self.secret(variable, reference, environment, stored)
        if value is None:
            return None, f" In the sandbox, give it in {given.FILE} beside copilot/: {variable}=value."
        if stored is not None or not self.is_invented(variable, reference) or not self.announce([variable]):
            return value, ""
        return value, f"the value of {variable} is made up: give a real one in {given.FILE}"

    def is_given(self, variable: str, reference: str) -> bool:
        """Return True if the user's file has a value for a secret."""
        return any(name in given.read(self._root)[0] for name in (*_names(reference), variable))

    def export(self, name: str) -> str:
        """Return the value of an export that no stack has: the user's, or a made-up one.

        The export of a secret gives its name, which a task definition may show.
        """
        if name in self.secret_exports:
            return f"{_EXPORT}{name}"
        value = given.read(self._root)[0].get(name)
        return made_up_values(self._databases).value(name) if value is None else value

    def announce(self, variables: Iterable[str]) -> list[str]:
        """Return those of the made-up variables that no earlier call has returned, sorted."""
        with self._lock:
            try:
                known: set[str] = set(json.loads(self._file.read_text()))
            except (OSError, ValueError):
                known = set()
            new = sorted(set(variables) - known)
            if new:
                write_private(self._file, json.dumps(sorted({*known, *new})))
            return new

    def is_invented(self, variable: str, reference: str) -> bool:
        """Return True if the value of a secret that is not stored is a made-up one."""
        own = variable in self._databases.secrets_of("test") or made_up.aws_variable(variable)
        return not (own or self._database_part(variable, reference) or self.is_given(variable, reference))

    def buckets(self, references: Iterable[Reference], environment: str) -> set[str]:
        """Return the buckets that variables name, which the project expects to exist."""
        values = {
            each.name if each.kind == "plain" else self.secret(each.variable, each.name, environment, None)
            for each in references
            if each.kind not in ("addon", "import") and "BUCKET" in made_up.words_of(each.variable)
        }
        return {value for value in values if value and _BUCKET.fullmatch(value)}

    def invented(self, references: Iterable[Reference], application: str, environment: str) -> set[str]:
        """Return the variables of an environment's containers whose values are made up.

        The application's own exports are those of its environments and their addons.
        """
        own = self._databases.secrets_of(environment)
        return {
            each.variable
            for each in references
            if each.kind not in ("plain", "addon")
            and not (each.kind in ("import", "secret import") and each.name.startswith(f"{application}-"))
            and each.variable not in own
            and not made_up.aws_variable(each.variable)
            and not self._database_part(each.variable, each.name)
            and not self.is_given(each.variable, each.name)
            and made_up.is_made_up_for(each.variable)
        }

    def stored(self, references: Sequence[Reference], environment: str) -> list[Stored]:
        """Return the secrets that an environment's containers name, with a value for each.

        Parameter Store has no empty values, so those are not stored. Neither is what an addon makes: if it
        were there, the addon's stack could not make it.
        """
        own = {f"/secrets/{name}" for name in self._databases.secrets_of(environment)}
        parameters: dict[str, str] = {}
        secrets: dict[str, dict[str, str]] = {}
        for each in references:
            if each.kind not in ("ssm", "secretsmanager"):
                continue
            value = self.secret(each.variable, each.name, environment, None)
            if not value:
                continue
            if each.kind == "ssm":
                path = _names(each.name)[0]
                if path not in self.addon_secrets and not any(path.endswith(name) for name in own):
                    parameters.setdefault(path, value)
            else:
                name, _, key = _names(each.name)[-1].partition(":")
                if name in self.addon_secrets:
                    continue
                secrets.setdefault(name, {}).setdefault(key, value)
        return [
            *(Stored(name, value, environment, is_parameter=True) for name, value in parameters.items()),
            *(
                Stored(name, values.get("") or json.dumps(values), environment, is_parameter=False)
                for name, values in secrets.items()
            ),
        ]

    def environment(
        self, references: Iterable[Reference], container: str, environment: str, database: str
    ) -> dict[str, str]:
        """Return the variables of a service's main container, for a command outside of a task.

        Addresses of databases lead to that of the environment `database`. A variable without a value is left
        out.
        """
        variables: dict[str, str] = {}
        for each in references:
            if each.container != container or each.workload != container:
                continue
            if each.kind == "plain":
                variables[each.variable] = each.name
            else:
                of = database if self._database_part(each.variable, each.name) else environment
                value = self.secret(each.variable, each.name, of, None)
                if value is not None:
                    variables[each.variable] = value
        return variables

    def _database_part(self, variable: str, reference: str) -> str:
        """Return the part of a database's address that a secret has (see `made_up`); empty for none.

        What tells it is an addon that attaches the secret to a database, else the variable's name or the
        secret's key.
        """
        name, _, key = _names(reference)[-1].partition(":")
        if {variable, *_names(reference)} & self.database_secrets:
            return made_up.part_of(key) if key else "json"
        return made_up.database_part(variable) or (made_up.database_part(f"{name}_{key}") if key else "")

    def _invent(self, variable: str, reference: str, environment: str) -> str | None:
        own = self._databases.secrets_of(environment)
        if variable in own:
            return own[variable]
        if part := self._database_part(variable, reference):
            staging = made_up.asks_for_staging(variable)
            return self._databases.database_of(environment, staging=staging).part(part)
        if (name := made_up.aws_variable(variable)) in (aws := self._aws()):
            return aws[name]
        if not made_up.is_made_up_for(variable):
            return None
        return made_up_values(self._databases).value(variable)


def made_up_values(databases: Databases) -> made_up.Values:
    return made_up.Values(databases.made_up_key(), databases.redis_host)


def line_of(invented: Sequence[str]) -> str:
    """Return what to say about made-up values, one line."""
    return (
        f"made up, because nobody gave them: {', '.join(invented)}; where a real value is needed, "
        f"write NAME=value into {given.FILE} beside copilot/"
    )


def _names(reference: str) -> list[str]:
    """Return the names by which a user may give a secret: a path, an export, a secret's name, with its key.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
    """
    if reference.startswith(_EXPORT):
        return [reference.removeprefix(_EXPORT)]
    if ":parameter/" in reference:
        return [f"/{reference.split(':parameter/', 1)[1]}"]
    name, colon, rest = reference.rpartition(":secret:")[2].partition(":")
    key = rest.partition(":")[0] if colon else ""
    names = dict.fromkeys((name, _SUFFIX.sub("", name))) if ":secret:" in reference else [name]
    return [*names, *(f"{each}:{key}" for each in names if key)]
