"""Check a branch's files before Copilot or Docker reads them; until then the branch is only data.

Every path that they would read must be a regular file or folder of the repository, of limited size. Manifests
get only the deployer's variables that MANIFEST_VARIABLES names. A CDK override is code that runs on this
machine, so a person must trust it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from copilot_testenv.branch_guard import branch_manifests
from copilot_testenv.branch_guard.branch_manifests import OWN_VARIABLES, Named, Read
from copilot_testenv.branch_guard.branch_paths import Repository, Wrong, walk
from copilot_testenv.core import git, trust, workspace_files
from copilot_testenv.core.errors import Refused
from copilot_testenv.core.process import Shell
from copilot_testenv.core.settings import Settings

ENVIRONMENTS = "environments"  # the folder of copilot/ that is not a service
_PATCHES = "cfn.patches.yml"
# `copilot svc override` writes these beside the patches; Copilot does not read the others.
_BESIDE_PATCHES = frozenset({_PATCHES, "readme.md", ".gitignore"})
_YAML = (".yml", ".yaml")
_TEXT = (*_YAML, ".workspace")  # files that are read completely
_INSTALLED = frozenset({"node_modules", ".build"})  # created by npm and the CDK in a person's checkout


@dataclass(frozen=True)
class Scope:
    """The services and environments for which Copilot will be started.

    `services` are the folders of copilot/ that it renders or deploys (None: all), and with `environments` it
    also handles environments. Without `paths` it builds and uploads nothing, so the paths in manifests are
    not checked. Without `values` Copilot gets stand-ins for all variables, so tags of CloudFormation and
    variables are allowed in manifests. `listed` and `without_git`: see branch_paths.Repository.
    """

    services: Collection[str] | None = None
    environments: bool = True
    paths: bool = True
    values: bool = True
    listed: frozenset[str] | None = None
    without_git: Path | None = None


def listed(root: Path, shell: Shell) -> frozenset[str]:
    """Return the files of a checkout that Git tracks; none where Git fails."""
    real = os.path.realpath(root)
    words = ("ls-files", "-z", "--recurse-submodules", "--", ":/")
    output = shell.run(git.command(root, *words)).stdout
    return frozenset(posixpath.normpath(f"{real}/{path}") for path in output.split("\0") if path)


def require(folder: Path, settings: Settings, environ: Mapping[str, str], scope: Scope, of: str = "") -> None:
    """Raise Refused (3) where a file of the workspace in `folder` is unsafe.

    `of` names the branch; `environ` has the values of MANIFEST_VARIABLES.
    """
    faults = wrong(folder, settings, environ, scope)
    if not faults:
        return
    first = next((fault for fault in faults if not fault.change), faults[0])
    more = len(faults) - 1
    also = f" ({more} more like it: `invoke check` in a checkout of the branch shows all)" if more else ""
    reason = f"{first.path}:{first.line}{f' of {of}' if of else ''}: {first.what}{also}"
    if first.change:
        raise trust.refused(first.change, reason)
    raise Refused(f"{reason}. Copilot was not started, and nothing was changed. Instead: {first.instead}.")


def wrong(folder: Path, settings: Settings, environ: Mapping[str, str], scope: Scope) -> list[Wrong]:
    """Return the faults that settings.trusted does not allow, sorted by file and line."""
    check = _Check(Repository(folder, scope.listed, scope.without_git), settings, environ, scope)
    faults = check.all()
    return sorted({fault for fault in faults if fault.change not in settings.trusted or not fault.change})


@dataclass(frozen=True)
class _Check:
    """Check the files of one workspace; `walked` keeps the faults of each folder that was read."""

    repository: Repository
    settings: Settings
    environ: Mapping[str, str]
    scope: Scope
    walked: dict[tuple[str, bool], list[Wrong]] = field(default_factory=dict)

    def all(self) -> Iterator[Wrong]:
        root = self.repository.root
        structure = list(self._structure())
        yield from structure
        if any(not fault.change for fault in structure):
            return  # do not open a path that may not be a regular file
        for owner in self._owners():
            folder = root / "copilot" / owner
            # Copilot does not read the second; a guard may look at one file too many.
            files = [folder / workspace_files.NAME, folder / "manifest.yaml"]
            judged = self._judged(owner)
            if owner == ENVIRONMENTS:
                files = sorted(folder.glob("*/manifest.y*ml"))
            for fault in self._manifests(files, judged=judged):
                yield replace(fault, owner=owner)
            if judged:
                for fault in (*self._overrides(folder / "overrides"), *self._addons(folder / "addons")):
                    yield replace(fault, owner=owner)

    def _owners(self) -> list[str]:
        """Return the folders of copilot/ that Copilot may deploy: services, jobs and `environments`."""
        folder = self.repository.root / "copilot"
        return sorted(path.name for path in folder.iterdir() if path.is_dir())

    def _judged(self, owner: str) -> bool:
        if owner == ENVIRONMENTS:
            return self.scope.environments
        return self.scope.services is None or owner in self.scope.services

    def _structure(self) -> Iterator[Wrong]:
        """Yield the faults of copilot/ itself: Copilot lists it, and reads every manifest for its type."""
        repository = self.repository
        folder = str(repository.root / "copilot")
        if not os.path.lexists(folder):
            yield Wrong("copilot", 1, "copilot/ does not exist", "commit it")
            return
        place, fault = repository.follow(folder)
        if fault or place is None or not stat.S_ISDIR(os.lstat(folder).st_mode):
            what = fault.what if fault else "copilot is not a folder"
            change = fault.change if fault else ""
            yield Wrong("copilot", 1, what, "make it a folder of the repository", change)
            if place is None or not Path(place).is_dir():
                return
        for link, mode, _ in walk(str(place), _INSTALLED):
            shown = repository.shown(link)
            if stat.S_ISLNK(mode):
                _, fault = repository.follow(link)
                if fault:
                    yield replace(fault, path=shown, line=1)
            elif stat.S_ISREG(mode):
                if link.endswith(_TEXT) and (large := repository.too_large(link)):
                    yield replace(large, path=shown, line=1)
            elif not stat.S_ISDIR(mode):
                what = f"{shown} is neither a regular file nor a folder"
                yield Wrong(shown, 1, what, "make it a file of the repository")

    def _manifests(self, files: list[Path], *, judged: bool) -> Iterator[Wrong]:
        for file in files:
            if not file.is_file():
                continue
            shown = self.repository.shown(str(file))
            try:
                found = branch_manifests.read(file)
            except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                if judged:
                    yield _unreadable(shown, error)
                continue
            if judged:
                yield from self._values(shown, found)
            if self.scope.paths:
                for named in branch_manifests.paths(found):
                    yield from self._named(shown, named)

    def _values(self, shown: str, found: Read) -> Iterator[Wrong]:
        for line, tag in found.tags:
            if not self.scope.values and not tag.startswith("tag:"):
                continue
            what = f"the tag {tag.removeprefix('tag:yaml.org,2002:')!r} changes the type of the value"
            yield Wrong(shown, line, what, "write the value itself")
        if self.scope.values:
            yield from variables_of_the_deployer(shown, found, self.settings.manifest_variables)
        for line, name in branch_manifests.caches(found):
            if "=" in name or "," in name:
                what = f"`cache_from` names {name!r}, and Docker would read or write another place for it"
                yield Wrong(shown, line, what, "name an image, as repository:tag")

    def _named(self, shown: str, named: Named) -> Iterator[Wrong]:
        """Yield the faults of a path, as it is written and as Copilot fills it in for each environment."""
        texts = {named.path, *(branch_manifests.filled(named.path, values) for values in self._variables())}
        for text in sorted(texts):
            place, fault = self.repository.locate(text, absolute=named.kind == "asset")
            if fault:
                yield replace(fault, path=shown, line=named.line)
            if place is None:
                continue  # Copilot reports that the path does not exist
            for fault in self._read(place, named):
                yield replace(fault, path=shown, line=named.line)

    def _variables(self) -> Iterator[dict[str, str]]:
        """Yield the variables that Copilot fills into manifests, for each environment."""
        environments = self.repository.root / "copilot" / ENVIRONMENTS
        names = {self.settings.test_env}
        if environments.is_dir():
            names.update(folder.name for folder in environments.iterdir() if folder.is_dir())
        given = {name: self.environ.get(name, "") for name in self.settings.manifest_variables}
        for name in sorted(names):
            yield {**given, **dict(zip(OWN_VARIABLES, (self.settings.app, name), strict=True))}

    def _read(self, place: str, named: Named) -> Iterator[Wrong]:
        """Yield the faults of a file or folder that exists."""
        repository = self.repository
        if named.kind in {"file", "dockerfile"}:
            if not Path(place).is_dir() and (large := repository.too_large(place)):
                yield large
        elif Path(place).is_dir():
            key = (place, named.kind == "context")
            if key not in self.walked:
                self.walked[key] = list(repository.below(place, is_context=key[1]))
            yield from self.walked[key]
        if named.kind in {"dockerfile", "context"}:
            yield from self._ignoring(f"{place}{'.' if named.kind == 'dockerfile' else '/.'}dockerignore")

    def _ignoring(self, ignore: str) -> Iterator[Wrong]:
        """Yield the faults of a .dockerignore, where there is one."""
        real, fault = self.repository.follow(ignore)
        if fault:
            yield fault
        if real and (large := self.repository.too_large(real)):
            yield large

    def _overrides(self, folder: Path) -> Iterator[Wrong]:
        """Yield a fault for files other than patches: they may be a CDK application, which Copilot installs.

        Source: internal/pkg/override/override.go of aws/copilot-cli 1.34.
        """
        if not folder.is_dir():
            return
        names = {path.name for path in folder.iterdir()}
        odd = sorted(name for name in names if name.lower() not in _BESIDE_PATCHES)
        if odd:
            shown = self.repository.shown(str(folder))
            what = (
                f"an override by the CDK ({', '.join(odd)}) is code of the branch, which "
                "Copilot installs with npm and runs on this machine"
            )
            yield Wrong(shown, 1, what, f"use {_PATCHES}, or ask the person who deploys to trust it", "cdk")

    def _addons(self, folder: Path) -> Iterator[Wrong]:
        for file in sorted(folder.glob("*.y*ml")) if folder.is_dir() else ():
            shown = self.repository.shown(str(file))
            try:
                found = branch_manifests.read(file)
            except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                yield _unreadable(shown, error)
                continue
            for line, tag in found.tags:
                if not tag.startswith("!"):  # as all tags of CloudFormation do
                    yield Wrong(
                        shown, line, f"the tag {tag!r} is not one of CloudFormation's", "write the value"
                    )
            if self.scope.paths:
                for named in branch_manifests.assets(found):
                    yield from self._named(shown, named)


def _unreadable(shown: str, error: Exception) -> Wrong:
    why = " ".join(str(error).split())
    mark = getattr(error, "problem_mark", None)
    return Wrong(shown, mark.line + 1 if mark else 1, f"it cannot be read: {why}", "write it as plain YAML")


def variables_of_the_deployer(shown: str, found: Read, allowed: Collection[str] = ()) -> Iterator[Wrong]:
    """Yield each variable that Copilot would fill into a manifest from the environment of its caller."""
    for line, name in found.variables:
        if name not in (*OWN_VARIABLES, *allowed):
            what = f"`${{{name}}}` would be filled in from the environment of the person who deploys"
            instead = f"write the value itself, or `\\${{{name}}}` if the container's shell is to fill it in"
            if not name.upper().startswith(("AWS_", "COPILOT_")):
                instead += f"; the person who deploys may allow it with MANIFEST_VARIABLES={name}"
            yield Wrong(shown, line, what, instead)
