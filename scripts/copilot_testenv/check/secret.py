"""Rules on secrets: each environment has its own, and the test environment has none of production's."""

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

_LONG = 16  # characters; shorter values, as of a port or a flag, may be equal by chance under other names
_APP, _ENV = "${COPILOT_APPLICATION_NAME}", "${COPILOT_ENVIRONMENT_NAME}"


@dataclass(frozen=True)
class Secret:
    """A container's secret. `source` is the name or ARN of its SSM parameter or Secrets Manager secret.

    With `exported`, `source` is the name of a stack's export that has the name or ARN as its value in AWS.
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
        """Return the name without the ARN's prefix and the JSON key."""
        name = re.sub(r"^arn:.*?:(parameter(?=/)|secret:)", "", self.source)
        return name if name.startswith("/") else name.partition(":")[0]


def paths(project: Project) -> Iterator[Finding]:
    """Find secrets whose path does not name their environment: another environment's, or shared ones."""
    found = [each for each in _secrets(project) if not each.exported]
    users: dict[str, set[str]] = {}
    for each in found:
        users.setdefault(each.source, set()).add(each.environment)
    yield from in_environments(_paths(project, found, users))


def same_values(project: Project) -> Iterator[Finding]:
    """With DEPLOY_TARGET=aws, find secrets of `test` with the same value as a protected environment's secret.

    Values are compared by digests with a key that only this run knows. Neither value nor digest is shown.
    """
    if project.settings.target == "aws":
        yield from compared(project, lambda place: _aws(place.region))


def compared(project: Project, aws_of: Callable[[commands.Environment], Aws]) -> Iterator[Finding]:
    """Find secrets as `same_values` does, with the AWS client that `aws_of` returns for an environment."""
    test, digests = project.settings.test_env, _Digests(secrets.token_bytes(32))
    protected = [name for name in project.names if protector(name, project.settings)]
    by_environment: dict[str, list[Secret]] = {}
    for secret in _secrets(project):
        by_environment.setdefault(secret.environment, []).append(secret)
    if not by_environment.get(test) or not any(by_environment.get(name) for name in protected):
        return
    compared_secrets = {name: by_environment.get(name, []) for name in (test, *protected)}
    if unread := list(_read(project, aws_of, digests, compared_secrets)):
        yield _unread(project, unread)
    # The service and its sidecars share secrets: each is reported at the first place that names it.
    own_secrets = {(secret.variable, secret.source): secret for secret in reversed(by_environment[test])}
    for own in own_secrets.values():
        for other in (other for name in protected for other in compared_secrets[name]):
            if digests.same(own, other):
                yield Finding(
                    own.document.path,
                    own.line,
                    "secret-value",
                    "error",
                    f"{own.variable} of {test} has the value of {other.variable} of {other.environment}",
                    f"give {test} a value of its own: `copilot secret init`",
                )


def _read(
    project: Project,
    aws_of: Callable[[commands.Environment], Aws],
    digests: _Digests,
    by_environment: Mapping[str, Sequence[Secret]],
) -> Iterator[str]:
    """Read the environments' secrets into `digests`. Yield a reason for each one that cannot be read."""
    command = commands.Copilot(project.settings, {}, project.root).environments()
    try:
        listed = output_of(project.shell, command, "Asking Copilot for the environments")
        places = {place.name: place for place in commands.environments(listed)}
    except UserError as error:
        yield str(error)
        return
    for name, own in by_environment.items():
        if name not in places:
            yield f"Copilot knows no environment {name}"
            continue
        try:
            unresolved = digests.read(aws_of(places[name]), places[name], own)
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
        f"run this check with a role that may read them ({' '.join('; '.join(why).split())})",
    )


class _Digests:
    """Digests of secrets' values, with a key of this run. The values are not kept."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # (environment, source, exported) -> (digest, True if the value has at least _LONG characters)
        self._known: dict[tuple[str, str, bool], tuple[bytes, bool]] = {}

    def read(self, aws: Aws, place: commands.Environment, found: Sequence[Secret]) -> list[str]:
        """Read the secrets' values. Return the exports that lead to no value.

        Raises UserError where AWS does not answer, or where the credentials are of another account.
        """
        account = aws.account()
        if place.account and account != place.account:
            raise UserError(f"it is in account {place.account}, and these credentials are of {account}")
        wanted = sorted({(secret.source, secret.exported) for secret in found})
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
            return False  # `paths` reports a secret that both environments share
        alike = own.variable == other.variable or first[1]
        return alike and hmac.compare_digest(first[0], second[0])


def _parameter(source: str) -> str:
    """Return the SSM parameter's name; empty if the source is a secret of Secrets Manager."""
    if source.startswith("arn:"):
        _, is_parameter, name = source.partition(":parameter/")
        return f"/{name}" if is_parameter else ""
    return source


def _part(aws: Aws, source: str) -> str | None:
    """Return the value of a secret's ARN: the whole text, or the value of a JSON key.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
    """
    fields = re.sub(r"\$\{.*?\}", "", source).split(":")
    name, key = fields[6:7], "".join(fields[7:8])
    # Copilot writes an ARN without AWS's random suffix; AWS finds such a secret only by its name.
    text = aws.secret_value(name[0] if "${" in source else ":".join(fields[:7])) if name else None
    if not text or not key:
        return text
    try:
        document = json.loads(text)
    except ValueError:
        return None
    part = document.get(key) if isinstance(document, dict) else None
    return None if part is None else str(part)


def _aws(region: str) -> Aws:
    from copilot_testenv.aws import Aws  # noqa: PLC0415 - boto3 loads 0.1 s, and most checks do not need it

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
                elif isinstance(export, str):  # other forms are outputs of the service's own addons
                    yield Secret(document, environment, keys, name, export, exported=True)


def _paths(
    project: Project, found: Sequence[Secret], users: dict[str, set[str]]
) -> Iterator[tuple[str, Finding]]:
    for each in found:
        if _names_environment(each.path, each.environment):
            continue
        other = next(
            (name for name in project.names if name != each.environment and name in each.path.split("/")),
            None,
        )
        shared = sorted(users[each.source])
        if other:
            what = f"the secret {each.variable} is that of {other}"
        elif len(shared) > 1:
            what = f"the secret {each.variable} is shared by {', '.join(shared)}"
        elif not project.has_test_profile:
            continue
        else:
            what = f"the path of the secret {each.variable} does not name its environment"
        finding = Finding(
            each.document.path,
            each.line,
            "secret-path",
            # Environments of several accounts may have a secret each, at the same path.
            "error" if other or (len(shared) > 1 and project.has_test_profile) else "warning",
            what,
            f"write {_free_path(project, each, other, found)}",
        )
        yield each.environment, finding


def _names_environment(path: str, environment: str) -> bool:
    """Return True if the path contains the environment's name as a separate word."""
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(environment)}(?![a-z0-9])", path))


def _free_path(project: Project, each: Secret, other: str | None, found: Sequence[Secret]) -> str:
    """Return the suggested path; where another secret of the container has it, its end is the variable."""
    wanted = _own_path(project, each, other)
    path = wanted.replace(_ENV, each.environment).replace(_APP, project.settings.app)
    taken = {one.path for one in found if one.keys[:-1] == each.keys[:-1] and one.document is each.document}
    return f"{wanted.rpartition('/')[0]}/{each.variable}" if path in taken else wanted


def _own_path(project: Project, each: Secret, other: str | None) -> str:
    """Return the suggested path: with this environment instead of `other`, else in Copilot's usual form."""
    parts = each.path.split("/")
    if other in parts:
        parts[parts.index(str(other))] = _ENV
        return "/".join(parts).replace(f"/{project.settings.app}/", f"/{_APP}/")
    return f"/copilot/{_APP}/{_ENV}/secrets/{each.variable}"


RULES = (paths, same_values)
