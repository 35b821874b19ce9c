"""Makes up a value of a likely form for a secret that nobody has given, by the variable's name.

A value is derived from one random key of the sandbox and the name, so it is the same after each start, in
each environment and in each container. Nothing leads out of the machine: an address ends in `.invalid`, and
the names of services that report to their makers (Sentry, New Relic) are empty.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

REGION = "us-east-1"
# Words of a variable's name. A name without a dash between them (DBHOST, PGUSER) is split first.
_DATABASE = frozenset({"DB", "DATABASE", "POSTGRES", "POSTGRESQL", "PG", "PSQL", "RDS", "SQL", "AURORA"})
_JOINED = re.compile(r"(DB|DATABASE|POSTGRES|PG)(HOST|NAME|USER|PASS|PASSWORD|PORT|URL|DATABASE|SECRET)")
_CLUSTER = re.compile(r"^DB|DB$|AURORA|POSTGRES|DATABASE|DBCLUSTER")  # MYDBCLUSTER_SECRET
_PARTS = {
    "url": ("URL", "URI", "DSN"),
    "host": ("HOST", "HOSTNAME", "ADDRESS", "ENDPOINT", "SERVER"),
    "port": ("PORT",),
    "dbname": ("NAME", "DBNAME", "DB", "DATABASE"),
    "username": ("USER", "USERNAME", "LOGIN"),
    "password": ("PASSWORD", "PASS", "PASSWD", "PWD"),
    "engine": ("ENGINE",),
    "json": ("SECRET", "SECRETS", "CREDENTIALS", "CREDS", "JSON", "INFO", "CONFIG"),
}
_PART_OF = {word: part for part, words in _PARTS.items() for word in words}
_CACHE = frozenset({"REDIS", "VALKEY", "CELERY", "BROKER", "CACHE", "CHANNEL", "RQ", "ELASTICACHE"})


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


@dataclass(frozen=True)
class _Rule:
    """A likely value for names whose last word is one of `last`, and that have one of `has`, if given."""

    value: str  # {token}, {fernet}, {redis} and {name} are replaced
    last: frozenset[str] = frozenset()
    has: frozenset[str] = frozenset()

    def fits(self, words: list[str]) -> bool:
        return (not self.last or words[-1] in self.last) and (not self.has or bool(self.has & set(words)))


_URLS, _HOSTS = frozenset(_PARTS["url"]), frozenset(_PARTS["host"])
_MAIL = _set("EMAIL MAIL SMTP")
_FLAGS = _set("ENABLED DISABLED SSL TLS SECURE VERIFY DEBUG")
# The first that fits counts.
_RULES = (
    # Their libraries call out as soon as they have a key, and do nothing with an empty one.
    _Rule("", has=_set("SENTRY ROLLBAR NEWRELIC RELIC DATADOG DD BUGSNAG HONEYBADGER AIRBRAKE SCOUT APM")),
    _Rule("", has=_set("LOGTAIL SEGMENT MIXPANEL POSTHOG AMPLITUDE ANALYTICS RAYGUN")),
    _Rule("0", last=_FLAGS),
    _Rule("0", has=_set("ENABLE DISABLE USE IS HAS")),
    _Rule("{fernet}", has=_set("FERNET ENCRYPT ENCRYPTION ENCRYPTED CRYPT CRYPTO CRYPTOGRAPHY DECRYPT")),
    _Rule("redis://{redis}:6379/0", last=_URLS, has=_CACHE),
    _Rule("{redis}", last=_HOSTS, has=_CACHE),
    _Rule("6379", last=_set("PORT"), has=_CACHE),
    _Rule("0", last=_set("DB"), has=_CACHE),
    _Rule("", last=frozenset(_PARTS["password"]), has=_CACHE),  # Redis has none here
    _Rule("amqp://localhost:5672//", last=_URLS, has=_set("AMQP RABBITMQ CLOUDAMQP")),
    _Rule("cloudinary://1:sandbox@sandbox", last=_URLS, has=_set("CLOUDINARY")),
    _Rule("smtp://localhost:25", last=_URLS, has=_MAIL),
    _Rule("localhost", last=_set("HOST HOSTNAME SERVER"), has=_MAIL),
    _Rule("25", last=_set("PORT"), has=_MAIL),
    _Rule("somebody@sandbox.invalid", last=_set("EMAIL FROM MAIL SENDER")),
    _Rule("somebody@sandbox.invalid", last=_set("ADDRESS"), has=_MAIL),
    _Rule("*", last=_set("HOSTS"), has=_set("ALLOWED")),
    _Rule("http://localhost", last=_set("ORIGINS ORIGIN")),
    _Rule("", last=_set("DSN")),
    _Rule("admin/", last=_URLS, has=_set("ADMIN")),
    _Rule("https://{name}.invalid", last=_set("URL URI ENDPOINT WEBHOOK")),
    _Rule("sandbox.invalid", last=_set("HOST HOSTS HOSTNAME DOMAIN SERVER")),
    _Rule("{token}", last=_set("ID"), has=_set("CLIENT KEY AWS")),
    _Rule(
        "1", last=_set("PORT TIMEOUT TTL SIZE LIMIT COUNT MAX MIN SECONDS MINUTES HOURS DAYS AGE ID NUMBER")
    ),
    _Rule("1", last=_set("WORKERS THREADS CONCURRENCY RATE RETRIES")),
    _Rule("{}", last=_set("JSON CREDENTIALS")),
    _Rule(REGION, has=_set("REGION")),
    _Rule("INFO", last=_set("LEVEL LOGLEVEL")),
    _Rule("UTC", last=_set("TIMEZONE TZ")),
    _Rule("sandbox-{name}", has=_set("BUCKET")),
)


@dataclass(frozen=True)
class Database:
    """The address of one database, where TCP is answered, and the same as one URL."""

    url: str
    host: str
    port: int
    dbname: str
    username: str
    password: str

    def part(self, part: str) -> str:
        """Return one value: an attribute, the name of Django's engine, or all as RDS's JSON."""
        if part == "engine":
            return "django.db.backends.postgresql"
        return json.dumps(self.named()) if part == "json" else str(getattr(self, part))

    def named(self) -> dict[str, Any]:
        """Return the database as RDS keeps it in a secret.

        Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
        """
        names = ("username", "password", "host", "port", "dbname")
        return {**{name: getattr(self, name) for name in names}, "engine": "postgres"}


def words_of(name: str) -> list[str]:
    """Return the words of a variable's or a secret's name in capitals: `db-Password` has DB and PASSWORD."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.rsplit("/", 1)[-1])
    words: list[str] = []
    for word in filter(None, re.split(r"[^A-Za-z0-9]+", apart.upper())):
        joined = _JOINED.fullmatch(word)
        words += joined.groups() if joined else [word]
    return words


def database_part(name: str) -> str:
    """Return which part of a database's address a name asks for (`url`, `host`, `json` …); empty for none."""
    words = words_of(name)
    if not words or _CACHE & set(words):
        return ""
    part = _PART_OF.get(words[-1], "")
    own = _DATABASE & set(words) or (part == "json" and any(_CLUSTER.search(word) for word in words))
    return part if own else ""


def part_of(key: str) -> str:
    """Return the part of a database's address that a key of its secret has; empty if it is another one."""
    return _PART_OF.get((words_of(key) or [""])[-1], "")


def aws_variable(name: str) -> str:
    """Return the variable of AWS that a name means (AWS_S3_SECRET_KEY: AWS_SECRET_ACCESS_KEY); or empty."""
    words = words_of(name)
    if not {"AWS", "S3"} & set(words):
        return ""
    if words[-1] == "REGION" or words[-2:] == ["REGION", "NAME"]:
        return "AWS_REGION"
    if words[-2:] in (["ACCESS", "KEY"], ["SECRET", "KEY"]) or words[-3:] == ["ACCESS", "KEY", "ID"]:
        return "AWS_SECRET_ACCESS_KEY" if "SECRET" in words else "AWS_ACCESS_KEY_ID"
    return ""


def asks_for_staging(name: str) -> bool:
    """Return True if a name means staging's database, of whatever environment it is a secret."""
    return bool({"STAGE", "STAGING"} & set(words_of(name)))


def is_made_up_for(name: str) -> bool:
    """Return False for a name whose value cannot be guessed without breaking the start."""
    return name != "DJANGO_SETTINGS_MODULE"


class Values:
    """Makes up values. `key` is the sandbox's own; `redis_host` answers Redis on its usual port."""

    def __init__(self, key: bytes, redis_host: str) -> None:
        self._key = key
        self._redis_host = redis_host

    def value(self, name: str) -> str:
        """Return a value for a variable's name. Names of databases are not handled here."""
        words = words_of(name)
        form = next((rule.value for rule in _RULES if words and rule.fits(words)), "{token}")
        digest = hmac.digest(self._key, name.encode(), hashlib.sha256)
        encoded = base64.urlsafe_b64encode(digest).decode()
        markers = {
            "{token}": encoded.rstrip("="),
            "{fernet}": encoded,
            "{redis}": self._redis_host,
            "{name}": "-".join(words).lower()[:40],
        }
        for marker, text in markers.items():
            form = form.replace(marker, text)
        return form
