"""The facts of the running deployment: branch, commit, data and its age, state of database and Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import redis
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_testenv.stage_copy import copy_metadata

_COUNTER = "demo:visits"
_REDIS_TIMEOUT = 2.0  # seconds


@dataclass(frozen=True)
class Deployment:
    """The content of `deployment.json`, which the deploy writes into the build context."""

    branch: str
    commit: str
    deployed_by: str  # empty outside a deployment
    expires_at: datetime | None  # as planned when it was deployed; None: it stays, or that is unknown


@dataclass(frozen=True)
class Data:
    """The database's content: `rows` by table, and in `migrations` the last applied one by app."""

    rows: dict[str, int]
    names: dict[str, str]
    migrations: dict[str, str]
    copied_at: datetime | None
    source: str | None


def deployment() -> Deployment:
    try:
        found = json.loads((settings.BASE_DIR / "deployment.json").read_text())
    except (OSError, ValueError):
        found = {}
    if not isinstance(found, dict):
        found = {}
    branch, commit = (str(found.get(name) or "unknown") for name in ("branch", "commit"))
    return Deployment(branch, commit, str(found.get("deployed_by") or ""), _moment(found.get("expires_at")))


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:  # "never", for one that is kept
        return None


def data() -> Data | None:
    """Return the database's content; None if it does not answer or lacks a table of the models."""
    models = apps.get_app_config("shop").get_models()
    names = {model._meta.db_table: str(model._meta.verbose_name_plural) for model in models}  # noqa: SLF001  Django's documented API
    try:
        with connection.cursor() as cursor:
            rows = {}
            for table in names:
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608  our own model's table, quoted
                rows[table] = cursor.fetchone()[0]
            cursor.execute("SELECT DISTINCT ON (app) app, name FROM django_migrations ORDER BY app, id DESC")
            migrations = dict(cursor.fetchall())
            found: dict[str, Any] = copy_metadata.read(cursor) or {}
    except DatabaseError:
        return None
    copied_at = datetime.fromisoformat(found["copied_at"]) if found else None
    return Data(rows, names, migrations, copied_at, found.get("source"))


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def redis_answers() -> bool:
    try:
        return bool(_redis().ping())
    except redis.RedisError:
        return False


def count_visit() -> int | None:
    """Count a visit and return the number of visits; None if Redis does not answer."""
    try:
        return int(_redis().incr(_COUNTER))
    except redis.RedisError:
        return None


def visits() -> int | None:
    """Return the number of visits; None if Redis does not answer."""
    try:
        return int(_redis().get(_COUNTER) or 0)
    except redis.RedisError:
        return None


@cache
def _redis() -> redis.Redis:
    return redis.Redis(
        settings.REDIS_HOST,
        settings.REDIS_PORT,
        ssl=settings.REDIS_TLS,
        socket_connect_timeout=_REDIS_TIMEOUT,
        socket_timeout=_REDIS_TIMEOUT,
        # One retry, for a connection that Redis has closed. The default of 8 s is too long for health checks.
        retry=Retry(NoBackoff(), 1),
    )
