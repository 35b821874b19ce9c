"""Access control, and the files by which a test changes the embedded AWS. Modules are imported if needed."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from moto.core.request import Request
from moto.core.resource_tagging import TaggedResource

from .applications import Applications

if TYPE_CHECKING:
    from copilot_sandbox.testing.access import Access
    from copilot_sandbox.testing.faults import Faults

_SECONDS = {"environment": 60.0, "clean-up": 20.0, "rule-priority": 15.0}
"""The duration of steps on AWS, guessed from public logs of `copilot svc deploy`: the magnitude counts.

The steps are an environment's update, its clean-up, and what is between a rule's priority and the rule.
"""
_KEY = re.compile(r"Credential=([^/]+)/")


class ForTests:
    """`faults.json`, `calls.log`, `iam.json`, `timing.json` and `clock.json` in a state folder.

    Without them, nothing is changed.
    """

    def __init__(
        self, folder: Path, find_tagged: Callable[[], Iterator[TaggedResource]], applications: Applications
    ) -> None:
        """`find_tagged` returns the resources whose tags a policy's condition may use.

        The keys of `applications` are under access control in any case.
        """
        self._applications = applications
        self._watched = (folder / "faults.json", folder / "calls.log")
        self._switch = folder / "iam.json"
        self._folder = folder
        self._find_tagged = find_tagged
        self._key = ""
        self._lock = threading.Lock()
        self._faults: Faults | None = None
        self._access: Access | None = None

    def begin(self, own_key: str) -> None:
        """Start with a new key of this id, and without access control, as the protected data is deleted."""
        self._switch.unlink(missing_ok=True)
        self._key, self._access = own_key, None

    def faults(self) -> Faults | None:
        """Return the faults to inject; None if no test wants faults or a log of the calls."""
        with self._lock:  # two objects would count the same fault twice
            if not any(file.exists() for file in self._watched):
                self._faults = None
            elif self._faults is None:
                from copilot_sandbox.testing.faults import Faults  # noqa: PLC0415 -- as the module says

                self._faults = Faults(self._folder)
            return self._faults

    def seconds(self, step: str) -> float:
        """Return how long a step takes: 0 without `timing.json`.

        With it, it is AWS's duration divided by its `hurry`, or what it says for the step. So an
        environment's update passes through its states, and others can meet it there.
        """
        try:
            timing = json.loads((self._folder / "timing.json").read_text())
            return float(timing.get(step, _SECONDS[step] / timing.get("hurry", 1)))
        except (OSError, ValueError, TypeError, AttributeError):
            return 0.0

    def now(self) -> float:
        """Return the time by which schedules are carried out, in Unix seconds.

        `clock.json` moves it by its `ahead`, in seconds.
        """
        try:
            ahead = float(json.loads((self._folder / "clock.json").read_text())["ahead"])
        except (OSError, ValueError, TypeError, LookupError):
            ahead = 0.0
        return time.time() + ahead

    def check(self, request: Request) -> None:
        """Raise CallFailed if access control does not allow the request; for most keys it is off."""
        signed = _KEY.search(request.headers.get("Authorization", ""))
        is_application = signed is not None and self._applications.is_ours(signed[1])
        if not is_application and not self._switch.exists():
            return
        if self._access is None:
            from copilot_sandbox.testing.access import Access  # noqa: PLC0415 -- as the module says

            self._access = Access(self._switch, self._key, self._find_tagged, self._applications)
        self._access.check(request)
