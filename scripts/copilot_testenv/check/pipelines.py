"""Rules on the manifests of pipelines: what Copilot refuses to deploy, or what stages do not find.

Source: internal/pkg/manifest/validate.go and internal/pkg/deploy/pipeline.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, Severity
from copilot_testenv.check.project import Project
from copilot_testenv.core import workspace_files

Keys = tuple[str | int, ...]
_HOSTS = {
    "GitHub": ("github.com", "https://github.com/owner/repository"),
    "GitHubV1": ("github.com", "https://github.com/owner/repository"),
    "Bitbucket": ("bitbucket.org", "https://bitbucket.org/owner/repository"),
    "CodeCommit": (
        ".console.aws.amazon.com",
        "https://REGION.console.aws.amazon.com/codesuite/codecommit/repositories/NAME/browse",
    ),
}
_FORMATS = ("CODE_ZIP", "CODEBUILD_CLONE_REF")
_LONGEST = 100  # letters of a pipeline's name


def pipelines(project: Project) -> Iterator[Finding]:
    """Find mistakes in the sources, the builds and the stages of pipelines."""
    for document in project.pipelines.values():
        for keys, severity, what, instead in (
            *_source(document),
            *_build(project, document),
            *_stages(project, document),
        ):
            yield Finding(document.path, document.line(*keys), "pipeline", severity, what, instead)


Wrong = tuple[Keys, Severity, str, str]


def _source(document: Document) -> Iterator[Wrong]:
    name, version = document.get("name"), document.get("version")
    if isinstance(name, str) and len(name) > _LONGEST:
        yield ("name",), "error", "the pipeline's name is longer than 100 letters", "write a shorter one"
    if version != 1:
        shown = "this pipeline has no version" if version is None else f"Copilot has no version {version!r}"
        yield ("version",), "error", f"{shown} of pipelines" if version else shown, "write `version: 1`"
    provider = document.get("source", "provider")
    if provider not in _HOSTS:
        what = f"Copilot has no source provider {provider!r}"
        yield ("source", "provider"), "error", what, _near(str(provider), list(_HOSTS))
        return
    at: Keys = ("source", "properties", "repository")
    repository, (host, example) = document.get(*at), _HOSTS[provider]
    if not isinstance(repository, str) or not repository:
        yield at, "error", "`source.properties` names no repository", f"write `repository: {example}`"
    elif "/" not in repository or "git@" in repository or ("://" in repository and host not in repository):
        what = f"Copilot cannot read the repository {repository} of {provider}"
        yield at, "error", what, f"write its address, such as `{example}`"
    at = ("source", "properties", "output_artifact_format")
    form = document.get(*at)
    if form is not None and form not in _FORMATS:
        yield at, "error", f"CodePipeline has no artifact format {form!r}", _near(str(form), _FORMATS)


def _build(project: Project, document: Document) -> Iterator[Wrong]:
    keys: Keys = ("build", "buildspec")
    yield from _file(project, keys, document.get(*keys))


def _stages(project: Project, document: Document) -> Iterator[Wrong]:
    stages = document.get("stages")
    if not isinstance(stages, list) or not stages:
        yield ("stages",), "error", "the pipeline has no stage", "write `stages: [{name: test}]`"
        return
    environments = list(workspace_files.environments(project.root))
    earlier: list[object] = []
    for number, stage in enumerate(stages):
        keys: Keys = ("stages", number)
        if not isinstance(stage, dict):
            yield keys, "error", "this stage is no mapping", f"write `- name: {stage}`"
            continue
        name = stage.get("name")
        if not isinstance(name, str):
            yield keys, "error", "this stage has no name", "write `name:` with that of an environment"
        elif name in earlier:
            yield (*keys, "name"), "error", f"{name} is a stage already", "write each environment once"
        elif environments and name not in environments:
            what = f"{name} is no environment of this workspace"
            yield (*keys, "name"), _sure(name, environments), what, _near(name, environments)
        earlier.append(name)
        if stage.get("test_commands") and stage.get("post_deployments"):
            what = "`test_commands` and `post_deployments` exclude each other"
            yield (*keys, "test_commands"), "error", what, "keep one of the two"
        yield from _deployments(project, keys, stage)


def _deployments(project: Project, keys: Keys, stage: Mapping[str, Any]) -> Iterator[Wrong]:
    services = workspace_files.services(project.root)
    for kind in ("deployments", "pre_deployments", "post_deployments"):
        found = stage.get(kind)
        listed: dict[str, Any] = found if isinstance(found, dict) else {}
        for name, given in listed.items():
            at: Keys = (*keys, kind, str(name))
            if given is not None and not isinstance(given, dict):
                yield (
                    at,
                    "error",
                    f"Copilot cannot read the settings of `{name}`",
                    "write keys below it, or nothing",
                )
                continue
            settings = given if isinstance(given, dict) else {}
            if kind != "deployments":
                if not settings.get("buildspec"):
                    yield at, "error", f"`{name}` has no buildspec", "write `buildspec:` with its path"
                yield from _file(project, (*at, "buildspec"), settings.get("buildspec"))
            elif not settings.get("template_path") and str(name) not in services:
                what = f"{name} is no service or job of this workspace, and has no `template_path`"
                yield at, _sure(str(name), services), what, _near(str(name), services)
            waits = settings.get("depends_on")
            if name not in (waits if isinstance(waits, list) else ()) and name in _awaited(listed, str(name)):
                what = f"`{name}` waits for itself, through other `{kind}`"
                yield (*at, "depends_on"), "error", what, "remove one of their `depends_on`"
            for number, other in enumerate(waits if isinstance(waits, list) else ()):
                if other not in listed or other == name:
                    what = f"`{name}` waits for {other}, which is not among the other `{kind}` of this stage"
                    others = [str(each) for each in listed if each != name]
                    yield (*at, "depends_on", number), "error", what, _near(str(other), others)


def _awaited(listed: Mapping[str, Any], name: str) -> set[str]:
    """Return the deployments that one of a stage waits for, directly or through others."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        given = listed.get(ahead.pop())
        waits = given.get("depends_on") if isinstance(given, dict) else None
        new = (
            {str(other) for other in waits if isinstance(other, str)} - found
            if isinstance(waits, list)
            else set()
        )
        found |= new
        ahead += new - {name}
    return found


def _file(project: Project, keys: Keys, path: object) -> Iterator[Wrong]:
    if isinstance(path, str) and "${" not in path and not (project.root / path).is_file():
        what = (
            f"`{'.'.join(str(key) for key in keys if isinstance(key, str))}` names {path}, which is not there"
        )
        yield keys, "error", what, "write the path of the file from the top of the repository"


def _sure(name: str, known: Iterable[str]) -> Severity:
    """Return error where a known name is meant, else warning: another workspace may have this one."""
    return "error" if difflib.get_close_matches(name, list(known), 1) else "warning"


def _near(name: str, known: Iterable[str]) -> str:
    listed = list(known)
    folded = {each.casefold(): each for each in listed}
    near = difflib.get_close_matches(name.casefold(), folded, 1)
    return f"write `{folded[near[0]]}`" if near else f"write one of {', '.join(listed) or 'their names'}"


RULES = (pipelines,)
