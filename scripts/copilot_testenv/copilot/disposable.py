"""The mark that says that an environment may be thrown away; nothing in one without it is changed.

The mark is a tag of Copilot's own record of the environment, a parameter of SSM. It ends with the
environment, `copilot env deploy` leaves it alone, and neither the CI role (docs/iam) nor the environment's
own may set it. Its value names application and environment, so that a copied tag says nothing elsewhere.
Source: internal/pkg/config/env.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, Refused, SettingsError

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings

TAG = "copilot-testenv-disposable"
IN_SANDBOX = "test"  # the one that the sandbox marks, whatever TEST_ENV says: a wrong setting marks nothing
_BEGUN = "creating "  # before the value, until `create-env` is through


def parameter(app: str, environment: str) -> str:
    """Return the name of Copilot's record of an environment."""
    return f"/copilot/applications/{app}/environments/{environment}"


def value(app: str, environment: str) -> str:
    """Return the tag's value for a disposable environment."""
    return f"{app}/{environment}"


def require(settings: Settings, aws: Aws) -> str:
    """Return the mark, the right to change what is deployed in the environment.

    One call of AWS's, which reads. Raises Refused for an environment without the mark, SettingsError for one
    that Copilot does not know, Failed where the mark cannot be read.
    """
    found = _read(settings, aws)
    if found != value(settings.app, settings.test_env):
        raise Refused(
            f"The environment {settings.test_env} of the application {settings.app} does not say that it is "
            f"disposable{_but(found)}, so nothing in it is changed. If everything that is deployed there may "
            f"be replaced and deleted, say so once: {command(settings)}"
        )
    return found


def is_marked(settings: Settings, aws: Aws) -> bool:
    """Return True if the environment is marked. Raises SettingsError, Failed as `require` does."""
    return _read(settings, aws) == value(settings.app, settings.test_env)


def is_begun(settings: Settings, aws: Aws) -> bool:
    """Return True if `create-env` has begun to make the environment, and did not get through."""
    return _read(settings, aws) == _BEGUN + value(settings.app, settings.test_env)


def mark(settings: Settings, aws: Aws) -> None:
    """Say that the environment is disposable; twice is fine. Raises Failed."""
    _write(settings, aws, value(settings.app, settings.test_env))


def begin(settings: Settings, aws: Aws) -> None:
    """Say that these tasks are making the environment. Raises Failed."""
    _write(settings, aws, _BEGUN + value(settings.app, settings.test_env))


def command(settings: Settings) -> str:
    """Return the command that marks the environment."""
    name = settings.test_env
    chosen = f"TEST_ENV={name} " if name != "test" else ""
    target = "DEPLOY_TARGET=aws " if settings.target == "aws" else ""
    return f"{target}{chosen}invoke create-env --mark-disposable {name} --confirm {name}"


def _but(found: str | None) -> str:
    """Return the reason, in brackets, where the tag is there and says something else."""
    if found is None:
        return ""
    if found.startswith(_BEGUN):
        return " (`invoke create-env` has begun to make it and did not get through: run it again)"
    return f" (its tag {TAG} is about {found!r})"


def _read(settings: Settings, aws: Aws) -> str | None:
    name = parameter(settings.app, settings.test_env)
    try:
        found = aws.home.parameter_tags(name)
    except Failed as error:
        raise Failed(
            f"The mark of {settings.test_env} cannot be read, so nothing is changed. {error} It "
            f"takes ssm:ListTagsForResource on the parameter {name} (docs/iam.md)."
        ) from error
    if found is None:
        raise SettingsError(
            f"Copilot knows no environment {settings.test_env!r} in the application {settings.app!r} "
            f"in {aws.home.region}: create it once with `invoke create-env`."
        )
    return found.get(TAG)


def _write(settings: Settings, aws: Aws, text: str) -> None:
    name = parameter(settings.app, settings.test_env)
    try:
        aws.home.tag_parameter(name, {TAG: text})
    except Failed as error:
        raise Failed(
            f"{settings.test_env} was not marked. {error} It takes ssm:AddTagsToResource on the parameter "
            f"{name}, which the role of CI has not: ask an administrator for `{command(settings)}`."
        ) from error
