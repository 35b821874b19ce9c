"""Rules on secrets: each environment has its own, and `test` none of production's."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, in_environments
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import Keys, containers, where
from copilot_testenv.copilot import commands
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.process import output_of
from copilot_testenv.core.settings import protector

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws

_LONG = 16  # characters; shorter values, a port or a flag, may be equal by chance under other names
_APP, _ENV = "${COPILOT_APPLICATION_NAME}", "${COPILOT_ENVIRONMENT_NAME}"


@dataclass(frozen=True)
class Secret:
    """A container's secret. `source` is its parameter's or secret's name or ARN.

    With `exported` it is the name of the export that holds them, which AWS alone knows.
    """

    document: Document
    environment: str
    keys: Keys
    variable: str
    source: str
    exported: bool = False

    @property
    def line(self) -> int:
        return where(self.document, self.environment, *self.keys)

    @property
    def path(self) -> str:
        """The name without ARN and JSON key."""
        found = re.sub(r"^arn:.*?:(parameter(?=/)|secret:)", "", self.source)
        return found if found.startswith("/") else found.partition(":")[0]


def paths(project: Project) -> Iterator[Finding]:
    """Find secrets whose path does not name the environment: they are another's, or everybody's."""
    found = [each for each in _secrets(project) if not each.exported]
    users: dict[str, set[str]] = {}
    for each in found:
        users.setdefault(each.source, set()).add(each.environment)
    yield from in_environments(_paths(project, found, users))


def same_values(project: Project) -> Iterator[Finding]:
    """With DEPLOY_TARGET=aws: no secret of `test` has the value of a protected environment's.

    Values are compared by their digests with a key that only this run knows; neither is ever shown.
    """
    if project.settings.target == "aws":
        yield from compared(project, lambda place: _aws(place.region))


def compared(project: Project, aws_of: Callable[[commands.Environment], Aws]) -> Iterator[Finding]:
    """Find the same by asking the AWS that `aws_of` has for an environment."""
    test, digests = project.settings.test_env, _Digests(secrets.token_bytes(32))
    protected = [name for name in project.names if protector(name, project.settings)]
    of: dict[str, list[Secret]] = {}
    for each in _secrets(project):
        of.setdefault(each.environment, []).append(each)
    if not of.get(test) or not any(of.get(name) for name in protected):
        return
    asked = {name: of.get(name, []) for name in (test, *protected)}
    if unread := list(_read(project, aws_of, digests, asked)):
        yield _unread(project, unread)
    # The service and its sidecars have the same ones: each is told where it stands first.
    for own in {(each.variable, each.source): each for each in reversed(of[test])}.values():
        for other in (other for name in protected for other in asked[name]):
            if digests.same(own, other):
                yield Finding(
                    own.document.path,
                    own.line,
                    "secret-value",
                    "error",
                    f"{own.variable} of {test} has the value of {other.variable} of {other.environment}",
                    f"give {test} one of its own: `copilot secret init`",
                )


def _read(
    project: Project,
    aws_of: Callable[[commands.Environment], Aws],
    digests: _Digests,
    asked: Mapping[str, Sequence[Secret]],
) -> Iterator[str]:
    """Read the environments' secrets; why one could not be read."""
    command = commands.Copilot(project.settings, {}, project.root).environments()
    try:
        listed = output_of(project.shell, command, "Asking Copilot for the environments")
        places = {place.name: place for place in commands.environments(listed)}
    except UserError as error:
        yield str(error)
        return
    for name, found in asked.items():
        if name not in places:
            yield f"Copilot knows no environment {name}"
            continue
        try:
            unresolved = digests.read(aws_of(places[name]), places[name], found)
            yield from (f"{name}: no secret is found by the export {export}" for export in unresolved)
        except UserError as error:
            yield f"{name}: {error}"


def _unread(project: Project, why: Sequence[str]) -> Finding:
    first = next(iter(project.services.values()))
    return Finding(
        first.path,
        1,
        "secret-value",
        "warning",
        "not all secrets could be compared with those of protected environments",
        f"let somebody check who may read them ({' '.join('; '.join(why).split())})",
    )


class _Digests:
    """Digests of values, with a key of this run; the values themselves are dropped as soon as read."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[tuple[str, str, bool], tuple[bytes, bool]] = {}  # and whether the value is long

    def read(self, aws: Aws, place: commands.Environment, found: Sequence[Secret]) -> list[str]:
        """Read the values. Which exports lead to none.

        Raises UserError where AWS gives no answer, or another account than the environment's does.
        """
        account = aws.account()
        if place.account and account != place.account:
            raise UserError(f"it is in account {place.account}, and these credentials are of {account}")
        wanted = sorted({(each.source, each.exported) for each in found})
        exports = aws.exports() if any(exported for _, exported in wanted) else {}
        sources = {key: exports.get(key[0], "") if key[1] else key[0] for key in wanted}
        names = {source: _parameter(source) for source in sources.values() if source}
        values = aws.parameter_values(sorted({name for name in names.values() if name}))
        unresolved = []
        for (key, exported), source in sources.items():
            name = names.get(source)
            value = values.get(name) if name else _part(aws, source)
            if value:
                digest = hmac.digest(self._key, value.encode(), "sha256")
                self._known[place.name, key, exported] = (digest, len(value) >= _LONG)
            elif exported:
                unresolved.append(key)
        return unresolved

    def same(self, own: Secret, other: Secret) -> bool:
        first = self._known.get((own.environment, own.source, own.exported))
        second = self._known.get((other.environment, other.source, other.exported))
        if first is None or second is None:
            return False
        if own.source == other.source and not own.exported:
            return False  # one and the same is told by its path
        alike = own.variable == other.variable or first[1]
        return alike and hmac.compare_digest(first[0], second[0])


def _parameter(source: str) -> str:
    """Return the SSM parameter's name; empty where it is a secret of Secrets Manager."""
    if source.startswith("arn:"):
        _, is_parameter, name = source.partition(":parameter/")
        return f"/{name}" if is_parameter else ""
    return source


def _part(aws: Aws, source: str) -> str | None:
    """Return the value that an ARN of a secret means: the whole text, or that of a JSON key.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
    """
    fields = re.sub(r"\$\{.*?\}", "", source).split(":")
    name, key = fields[6:7], "".join(fields[7:8])
    # Copilot writes an ARN of just the name, which AWS knows by the name only.
    found = aws.secret_value(name[0] if "${" in source else ":".join(fields[:7])) if name else None
    if not found or not key:
        return found
    try:
        document = json.loads(found)
    except ValueError:
        return None
    part = document.get(key) if isinstance(document, dict) else None
    return None if part is None else str(part)


def _aws(region: str) -> Aws:
    from copilot_testenv.aws import Aws  # noqa: PLC0415 - boto3 takes a tenth of a second, most checks none

    return Aws({}, region or None)


def _secrets(project: Project) -> Iterator[Secret]:
    for document, environment, template in project.templates():
        for container in containers(template):
            for name, given in container.secrets.items():
                keys = (*container.keys, "secrets", name)
                source = given.get("Fn::Sub") if isinstance(given, dict) else given
                export = given.get("Fn::ImportValue") if isinstance(given, dict) else None
                if isinstance(source, str):
                    yield Secret(document, environment, keys, name, source)
                elif isinstance(export, str):  # else of the service's own addons
                    yield Secret(document, environment, keys, name, export, exported=True)


def _paths(
    project: Project, found: Sequence[Secret], users: dict[str, set[str]]
) -> Iterator[tuple[str, Finding]]:
    for each in found:
        if _names(each.path, each.environment):
            continue
        other = next(
            (name for name in project.names if name != each.environment and name in each.path.split("/")),
            None,
        )
        shared = sorted(users[each.source])
        if other:
            what = f"the secret {each.variable} is that of {other}"
        elif len(shared) > 1:
            what = f"the secret {each.variable} is one for {', '.join(shared)}"
        else:
            what = f"the path of the secret {each.variable} does not name its environment"
        finding = Finding(
            each.document.path,
            each.line,
            "secret-path",
            "error" if other or len(shared) > 1 else "warning",
            what,
            f"write {_own_path(project, each, other)}",
        )
        yield each.environment, finding


def _names(path: str, environment: str) -> bool:
    """Return True if the environment's name stands in the path as a word of its own."""
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(environment)}(?![a-z0-9])", path))


def _own_path(project: Project, each: Secret, other: str | None) -> str:
    """Return what to write.

    It is the same path with the environment's name in the other's place, or Copilot's form.
    """
    parts = each.path.split("/")
    if other in parts:
        parts[parts.index(str(other))] = _ENV
        return "/".join(parts).replace(f"/{project.settings.app}/", f"/{_APP}/")
    return f"/copilot/{_APP}/{_ENV}/secrets/{each.variable}"


RULES = (paths, same_values)
