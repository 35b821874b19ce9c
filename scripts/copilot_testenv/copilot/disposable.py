"""Read and write the mark that an environment is disposable; these tasks change nothing in an unmarked one.

The mark is a tag of Copilot's record of the environment, an SSM parameter. It is deleted with the
environment, and `copilot env deploy` does not change it. Neither the CI role (docs/iam) nor the environment's
own role may set it. Its value contains the application and the environment, so a copied tag has no effect
elsewhere. Source: internal/pkg/config/env.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core import documents
from copilot_testenv.core.errors import Failed, Refused, SettingsError, Throttled

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings

TAG = "copilot-testenv-disposable"
IN_SANDBOX = "test"  # the only one that the sandbox marks, so that a wrong TEST_ENV marks nothing
_BEGUN = "creating "  # prefix of the value until `create-env` has finished


def parameter(app: str, environment: str) -> str:
    """Return the name of Copilot's record of an environment."""
    return f"/copilot/applications/{app}/environments/{environment}"


def value(app: str, environment: str) -> str:
    """Return the tag's value for a disposable environment."""
    return f"{app}/{environment}"


def require(settings: Settings, aws: Aws) -> str:
    """Return the environment's mark, which allows changes of its deployments; make one reading call to AWS.

    Raises Refused for an environment without the mark, SettingsError for one that Copilot does not know,
    Failed where the mark cannot be read.
    """
    tag = _read(settings, aws)
    if tag != value(settings.app, settings.test_env):
        raise Refused(
            f"The environment {settings.test_env} of the application {settings.app} is not marked as "
            f"disposable{_but(tag)}, so nothing in it is changed. If everything that is deployed there may "
            f"be replaced and deleted, mark it once: {command(settings)}"
        )
    return tag


def is_marked(settings: Settings, aws: Aws) -> bool:
    """Return True if the environment is marked. Raises SettingsError, Failed as `require` does."""
    return _read(settings, aws) == value(settings.app, settings.test_env)


def is_begun(settings: Settings, aws: Aws) -> bool:
    """Return True if `create-env` has begun to create the environment and has not finished."""
    return _read(settings, aws) == _BEGUN + value(settings.app, settings.test_env)


def mark(settings: Settings, aws: Aws) -> None:
    """Mark the environment as disposable. Idempotent. Raises Failed."""
    _write(settings, aws, value(settings.app, settings.test_env))


def begin(settings: Settings, aws: Aws) -> None:
    """Mark the environment as being created by these tasks. Raises Failed."""
    _write(settings, aws, _BEGUN + value(settings.app, settings.test_env))


def command(settings: Settings) -> str:
    """Return the command that marks the environment."""
    name = settings.test_env
    chosen = f"TEST_ENV={name} " if name != "test" else ""
    target = "DEPLOY_TARGET=aws " if settings.target == "aws" else ""
    return f"{target}{chosen}invoke create-env --mark-disposable {name} --confirm {name}"


def _but(tag: str | None) -> str:
    """Return the reason, in brackets, where the tag has another value; empty where there is no tag."""
    if tag is None:
        return ""
    if tag.startswith(_BEGUN):
        return " (`invoke create-env` has begun to create it and did not finish: run it again)"
    return f" (its tag {TAG} is for {tag!r})"


def _read(settings: Settings, aws: Aws) -> str | None:
    name = parameter(settings.app, settings.test_env)
    try:
        tags = aws.home.parameter_tags(name)
    except Failed as error:
        rights = (
            f" The role needs ssm:ListTagsForResource on the parameter {name} ({documents.page('iam.md')})."
        )
        raise Failed(
            f"The mark of {settings.test_env} cannot be read, so nothing is changed. {error}"
            f"{'' if isinstance(error, Throttled) else rights}"
        ) from error
    if tags is None:
        raise SettingsError(
            f"Copilot knows no environment {settings.test_env!r} in the application {settings.app!r} "
            f"in {aws.home.region}: create it once with `invoke create-env`."
        )
    return tags.get(TAG)


def _write(settings: Settings, aws: Aws, text: str) -> None:
    name = parameter(settings.app, settings.test_env)
    try:
        aws.home.tag_parameter(name, {TAG: text})
    except Failed as error:
        raise Failed(
            f"{settings.test_env} was not marked. {error} The role needs ssm:AddTagsToResource on the "
            f"parameter {name}, which the CI role does not have: ask an administrator to run "
            f"`{command(settings)}`."
        ) from error
