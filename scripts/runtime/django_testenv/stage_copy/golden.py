"""Keep one pristine copy of staging on the target's server, from which branches' databases are cloned.

Its name says which source and which rules it was made with, so that a project that changes its rules gets
another one. Nobody may connect to it, or to the spare clone that can be kept ready beside it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from . import copy_metadata, swap
from .problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Connection, Database
    from .options import Options

PREFIX = "stage_copy_golden_"
SPARE = "_spare"


@dataclass(frozen=True)
class GoldenCopy:
    """The golden copy: its name, and those of its spare clones."""

    name: str
    max_age: float  # seconds
    wants_spare: bool

    @classmethod
    def of(cls, source: Database, server: Connection, options: Options) -> GoldenCopy | None:
        """Return the golden copy that the options ask for; None where they ask for none."""
        if options.golden is None:
            return None
        rules = {
            column: [rule.kind, rule.value, _path(rule.call)] for column, rule in sorted(options.mask.items())
        }
        address = {key: source.parameters.get(key, "") for key in ("host", "hostaddr", "port", "service")}
        facts = [address, source.name, server.info.user, rules, sorted(options.exclude_data)]
        digest = hashlib.sha256(json.dumps([*facts, options.mask_key]).encode())
        return cls(PREFIX + digest.hexdigest()[:16], options.golden.max_age, options.golden.spare)

    def require_ours(self, server: Connection) -> None:
        """Raise Refused where a database of that name belongs to somebody else."""
        for name in (self.name, *self._spares(server)):
            if not swap.is_ours(server, name):
                raise Refused(
                    f'the golden copy would be database "{self.name}", but "{name}" belongs to another role: '
                    'have its owner drop it, or take STAGE_COPY["golden"] out'
                )

    def age(self, server: Connection) -> float | None:
        """Return the seconds since it was copied; None where there is none."""
        found = copy_metadata.of(server, self.name)
        if found is None:
            return None
        return (datetime.now(timezone.utc) - datetime.fromisoformat(found["copied_at"])).total_seconds()

    def ready_spare(self, server: Connection) -> str | None:
        """Return the name of the spare clone of this very copy, if there is one."""
        name = self._spare(server)
        return name if name and swap.exists(server, name) else None

    def order_spare(self, server: Connection, maintenance: Database) -> None:
        """Have the server make a clone to keep ready, and do not wait for it.

        A server carries out what it has begun although the client is gone, and a database is there only when
        it is complete. Those of earlier golden copies are dropped.
        """
        wanted = self._spare(server)
        swap.drop(server, *(name for name in self._spares(server) if name != wanted))
        if wanted and not swap.exists(server, wanted):
            swap.order_clone(maintenance, wanted, self.name)

    def drop_spares(self, server: Connection) -> None:
        swap.drop(server, *self._spares(server))

    def _spare(self, server: Connection) -> str | None:
        """Return the name of the present copy's spare clone: it says which copy it is of."""
        found = copy_metadata.of(server, self.name)
        if found is None:
            return None
        return f"{self.name}{SPARE}_{datetime.fromisoformat(found['copied_at']):%Y%m%d%H%M%S}"

    def _spares(self, server: Connection) -> list[str]:
        rows = server.execute(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s)", [self.name + SPARE]
        )
        return [name for (name,) in rows]

    def drop_others(self, server: Connection, say: Callable[[str], None]) -> None:
        """Drop golden copies of our role that no project's rules ask for any more: those past their age."""
        rows = server.execute(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s) "
            "AND pg_get_userbyid(datdba) = current_user ORDER BY 1 DESC",  # spares before what dates them
            [PREFIX],
        ).fetchall()
        for (name,) in rows:
            if name.startswith(self.name):
                continue
            found = copy_metadata.of(server, name.partition(SPARE)[0])
            if found is None:
                continue  # somebody is making it
            age = (datetime.now(timezone.utc) - datetime.fromisoformat(found["copied_at"])).total_seconds()
            if age > self.max_age:
                say(f'golden copy "{name}" of {found["copied_at"]} is not asked for any more: it is dropped')
                swap.drop(server, name)


def _path(call: object) -> str | None:
    """Return where a function is defined; two modules may have one of the same name."""
    return f"{getattr(call, '__module__', '')}.{getattr(call, '__qualname__', '')}" if call else None
