"""Read all settings from environment variables.

DATABASE_URL and SECRET_KEY must be set. These may be set: STAGE_DATABASE_URL (staging's database, for
copy_stage_db), DATABASE_SUFFIX (the end of the name of a branch's own database, as `_feature_x_1a2b3c4`),
SIDECAR_DATABASE_URL (a database in the project's own task, used instead of DATABASE_URL), REDIS_HOST
(localhost), REDIS_PORT (6379), REDIS_TLS (0), ALLOWED_HOSTS (*), HTTPS_ONLY (0), STATIC_ROOT (staticfiles
beside manage.py), LOG_LEVEL (INFO), DEBUG (0), EMAIL_HOST (none: mail is written to the log), EMAIL_PORT (25)
and EMAIL_BACKEND (console; only without EMAIL_HOST).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from django_testenv.stage_copy import database_url
from django_testenv.stage_copy.secret import Hidden, shown

BASE_DIR = Path(__file__).resolve().parents[1]


def _stop(message: str) -> NoReturn:
    """End the process with one line, which a traceback would hide in a container's log."""
    print(f"settings: {message}", file=sys.stderr)  # noqa: T201  logging is not set up before the settings are
    raise SystemExit(2)


def _require(name: str, meaning: str) -> None:
    if not os.environ.get(name):
        _stop(f"{name} is not set: give it {meaning}")


def _database(name: str) -> dict[str, Any]:
    try:
        return database_url.of(name)
    except ValueError as error:
        why = str(error)
    _stop(why)


def _suffix(name: str) -> str:
    value = os.environ.get(name, "")
    if value and not re.fullmatch(r"_[A-Za-z0-9_]+", value):
        value = shown(value)
        _stop(f"{name} is {value}: it must begin with _ and hold nothing but letters, digits and _")
    return value


def _number(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,5}", value):
        value = shown(value)
        _stop(f"{name} is {value}: it must be a whole number")
    return int(value)


def _flag(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def _level(name: str) -> str:
    value = os.environ.get(name) or "INFO"
    if value not in logging.getLevelNamesMapping():
        value = shown(value)
        _stop(f"{name} is {value}: it must be one of {', '.join(logging.getLevelNamesMapping())}")
    return value


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_require("SECRET_KEY", "a long random string")
SECRET_KEY = Hidden(os.environ["SECRET_KEY"])
if os.environ.get("SIDECAR_DATABASE_URL"):  # each task has its own, so a branch needs no suffix
    DATABASES = {"default": _database("SIDECAR_DATABASE_URL")}
else:
    _require("DATABASE_URL", "the database: postgres://user:password@host:5432/name")
    DATABASES = {"default": _database("DATABASE_URL")}
    DATABASES["default"]["NAME"] += _suffix("DATABASE_SUFFIX")
if os.environ.get("STAGE_DATABASE_URL"):
    DATABASES["stage"] = _database("STAGE_DATABASE_URL")
# The tables that copy_stage_db does not copy, the values that it replaces on staging's server, and the
# largest age of the copy from which databases are cloned.
STAGE_COPY = {
    "exclude_data": ["django_session", "django_admin_log"],
    "mask": {
        "shop_customer.name": "name",
        "shop_customer.email": "email",
        "auth_user.username": "username",
        "auth_user.first_name": "name",
        "auth_user.last_name": "name",
        "auth_user.email": "email",
        "auth_user.password": {"value": "!"},  # no password matches: testers create users of their own
    },
    "golden": {"max_age": "24h"},
}
REDIS_HOST = os.environ.get("REDIS_HOST") or "localhost"  # the sidecar's address
REDIS_PORT = _number("REDIS_PORT", 6379)
# ElastiCache accepts only encrypted connections. A server on loopback has no certificate, and needs none.
REDIS_TLS = _flag("REDIS_TLS") and not _on_this_machine(REDIS_HOST)

DEBUG = _flag("DEBUG")
# The load balancer's health check has the task's address as the host, which nobody knows beforehand, and a
# test environment gets a new address after every teardown. Nothing here builds a link from the host, so a
# forged host has no effect. A project that mails links sets ALLOWED_HOSTS.
ALLOWED_HOSTS = [host.strip() for host in os.environ.get("ALLOWED_HOSTS", "*").split(",") if host.strip()]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_extensions",
    "django_testenv.stage_copy",
    "django_testenv.access",
    "demo.shop",
]
# Access and mail in Copilot's environment `test`. It has no effect in other environments.
TEST_ACCESS = {"open_paths": ["/healthz"]}
MIDDLEWARE = [
    "django_testenv.access.middleware.AccessMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "demo.urls"
WSGI_APPLICATION = "demo.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

STATIC_URL = "/static/"
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT") or BASE_DIR / "staticfiles")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# The load balancer terminates TLS and sets this header, also if a client sends it. A test environment has no
# certificate, so cookies are sent over plain HTTP there; set HTTPS_ONLY=1 if there is a certificate.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _flag("HTTPS_ONLY")
SECURE_HSTS_SECONDS = 3600 if _flag("HTTPS_ONLY") else 0

# Mail is sent to the server EMAIL_HOST; without that variable it is written to the log.
EMAIL_HOST = os.environ.get("EMAIL_HOST", "")
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if EMAIL_HOST
    else os.environ.get("EMAIL_BACKEND") or "django.core.mail.backends.console.EmailBackend"
)
EMAIL_PORT = _number("EMAIL_PORT", 25)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "line"}},
    "root": {"handlers": ["stdout"], "level": _level("LOG_LEVEL")},
    "loggers": {"django": {"handlers": ["stdout"], "propagate": False}},
}
