"""A storage that reads staging's file where the branch has none, and changes only the branch's own place.

It is the project's own storage, led to the branch's place, with a second one that leads to staging's. A file
of staging that the branch deletes stays where it is: a record in the branch's place says that it is deleted.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Protocol

from django.core.files.storage import FileSystemStorage

if TYPE_CHECKING:
    from datetime import datetime

    from django.core.files.base import File
    from django.core.files.storage import Storage as _Base
else:
    _Base = object

log = logging.getLogger(__name__)
_FORBIDDEN = 403
_denied: set[str] = set()  # the storages whose refusal is in the log already


class Own(Protocol):
    """The branch's own place, as far as it is not a storage."""

    def check(self, storage: Any) -> None:
        """Raise ImproperlyConfigured unless the storage leads to this place."""

    def require(self, storage: Any) -> None:
        """Check the storage before a change, and mark the place as the slot's."""

    def is_deleted(self, name: str) -> bool:
        """Return True if the branch has deleted staging's file."""

    def set_deleted(self, name: str) -> None:
        """Write that the branch has deleted staging's file."""


class Overlay(_Base):
    """The class before the project's storage class in an overlay (see `storages.overlay`)."""

    testenv_original: Any  # the project's storage as it was
    testenv_stage: Any  # it leads to staging's files, and nothing writes through it
    testenv_own: Own
    testenv_served: Callable[[str], str] | None  # the address at which this project serves a file
    testenv_serves_own: bool

    def _has_own(self, name: str) -> bool:
        found: bool = super().exists(name)
        return found

    def _stage_has(self, name: str) -> bool:
        """Return True if staging has the file and the branch has not deleted it."""
        return _is_there(self.testenv_stage, name) and not self.testenv_own.is_deleted(name)

    def _is_of_stage(self, name: str) -> bool:
        return not self._has_own(name) and self._stage_has(name)

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if set(mode) & set("wax+"):
            self.testenv_own.require(self)
        elif self._is_of_stage(name):
            opened: File[Any] = self.testenv_stage.open(name, mode)
            return opened
        return super()._open(name, mode)

    def _save(self, name: str, content: File[Any]) -> str:
        self.testenv_own.require(self)
        saved: str = super()._save(name, content)
        return saved

    def delete(self, name: str) -> None:
        """Delete the branch's file; remember that staging's is deleted here."""
        if not name:
            super().delete(name)  # the storage's own error
            return
        self.testenv_own.require(self)
        if _is_there(self.testenv_stage, name):
            self.testenv_own.set_deleted(name)
        if self._has_own(name):
            super().delete(name)

    def exists(self, name: str) -> bool:
        return self._has_own(name) or self._stage_has(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return what the branch's own place has: staging's files are not listed."""
        found: tuple[list[str], list[str]] = [], []
        with suppress(FileNotFoundError):
            found = super().listdir(path)
        return found

    def size(self, name: str) -> int:
        found: int = self.testenv_stage.size(name) if self._is_of_stage(name) else super().size(name)
        return found

    def get_accessed_time(self, name: str) -> datetime:
        return self._time("get_accessed_time", name)

    def get_created_time(self, name: str) -> datetime:
        return self._time("get_created_time", name)

    def get_modified_time(self, name: str) -> datetime:
        return self._time("get_modified_time", name)

    def _time(self, which: str, name: str) -> datetime:
        holder = self.testenv_stage if self._is_of_stage(name) else super()
        found: datetime = getattr(holder, which)(name)
        return found

    def url(self, name: str | None, *args: Any, **more: Any) -> str:
        """Return an address that leads to the branch's file, or to staging's where the branch has none."""
        of_stage = bool(name) and self._is_of_stage(str(name))
        if self.testenv_served and name and (of_stage or self.testenv_serves_own):
            return self.testenv_served(name)
        own: Any = super()
        found: str = (self.testenv_stage if of_stage else own).url(name, *args, **more)
        return found

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        from .storages import overlay  # noqa: PLC0415 - it imports this module

        return overlay, (self.testenv_original,)


class OnDisk(Overlay):
    """An overlay whose own files are on the task's disk."""

    def _has_own(self, name: str) -> bool:
        return os.path.lexists(super().path(name))

    def path(self, name: str) -> str:
        """Return the path of the branch's file; staging's is copied there first: who asks may write."""
        own = Path(super().path(name))
        if name and self._is_of_stage(name) and not self._is_folder_of_stage(name):
            self.testenv_own.require(self)
            own.parent.mkdir(parents=True, exist_ok=True)
            with (
                self.testenv_stage.open(name, "rb") as file,
                NamedTemporaryFile(dir=own.parent, prefix=".", delete=False) as copy,
            ):
                shutil.copyfileobj(file, copy)
            Path(copy.name).replace(own)
        return str(own)

    def _is_folder_of_stage(self, name: str) -> bool:
        return (
            isinstance(self.testenv_stage, FileSystemStorage) and Path(self.testenv_stage.path(name)).is_dir()
        )


def _is_there(stage: Any, name: str) -> bool:
    """Return True if staging has the file. A refusal of AWS is logged once, and means no."""
    try:
        found: bool = stage.exists(name)
    except Exception as error:
        answer = getattr(error, "response", {})
        if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") != _FORBIDDEN:
            raise
        place = str(getattr(stage, "bucket_name", ""))
        if place not in _denied:
            _denied.add(place)
            log.warning("The task's role may not read staging's bucket %s, so its files are missing.", place)
        return False
    return found
