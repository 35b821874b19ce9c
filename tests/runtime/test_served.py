"""Real Django, with settings as a team has them for production: a person can use it behind plain http."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from django_testenv.access import errors
from tests.sources import sources

FILES = {
    "config/__init__.py": "",
    "config/settings/__init__.py": "",
    "config/settings/base.py": """
SECRET_KEY = "x" * 50
ROOT_URLCONF = "config.urls"
INSTALLED_APPS = ["django.contrib.sessions"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
)
""",
    "config/settings/production.py": """
from .base import *

ALLOWED_HOSTS = ["www.shop.example"]
SECURE_SSL_REDIRECT = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SESSION_COOKIE_SAMESITE = "None"
SESSION_COOKIE_DOMAIN = ".shop.example"
PREPEND_WWW = True
if __import__("os").environ.get("COPILOT_ENVIRONMENT_NAME") == "test":
    __import__("django_testenv.settings").settings.apply(globals())
""",
    "config/urls.py": """
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.urls import path


def login(request):
    request.session["seen"] = "yes"
    get_token(request)
    return HttpResponse("ok")


def broken(request):
    raise RuntimeError("the shop is shut")


urlpatterns = [path("", login), path("broken", broken)]
""",
    "look.py": """
import json, sys
import django
django.setup()
from django.test import Client
host, proto, path = sys.argv[1:]
answer = Client(raise_request_exception=False).get(path, HTTP_HOST=host, HTTP_X_FORWARDED_PROTO=proto)
print(answer.status_code, answer.get("Location", ""))
for cookie in answer.cookies.values():
    print(cookie.OutputString())
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def look(
    project: Path, host: str, balancer: str, proto: str = "http", path: str = "/", environment: str = "test"
) -> tuple[str, str]:
    """What a request gets, and what the process writes to its log."""
    done = subprocess.run(
        [sys.executable, "look.py", host, proto, path],
        cwd=project, check=True, capture_output=True, text=True,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": sources(), "COPILOT_LB_DNS": balancer,
            "COPILOT_ENVIRONMENT_NAME": environment, "DJANGO_SETTINGS_MODULE": "config.settings.production",
        },
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.parametrize("host", ["localhost:8123", "feature-x.localhost:8123"])
def test_settings_of_production_can_be_used_in_the_sandbox(project: Path, host: str) -> None:
    shown, _ = look(project, host, "localhost:8123")
    assert shown.startswith("200 \n")
    assert "csrftoken=" in shown
    assert "sessionid=" in shown
    assert "Secure" not in shown  # a browser would drop it
    assert "SameSite=None" not in shown
    assert "Domain=" not in shown


def test_settings_of_production_can_be_used_on_aws_without_a_certificate(project: Path) -> None:
    name = "demo-Publi-1ABC.eu-west-1.elb.amazonaws.com"
    assert look(project, name, name)[0].startswith("200 \n")
    shown, log = look(project, "evil.example", name)
    assert shown.startswith("400 ")
    assert "Invalid HTTP_HOST header: 'evil.example'" in log


def test_behind_https_cookies_stay_as_the_project_sets_them(project: Path) -> None:
    shown, _ = look(project, "www.shop.example", "demo.elb.amazonaws.com", "https")
    assert shown.startswith("200 \n")
    assert "SameSite=None; Secure" in shown
    assert "Domain=.shop.example" in shown


def test_elsewhere_nothing_of_it_holds(project: Path) -> None:
    shown, _ = look(project, "www.shop.example", "demo.elb.amazonaws.com", environment="production")
    assert shown.startswith("301 https://www.shop.example/")
    assert look(project, "localhost", "localhost:1", "https", environment="production")[0].startswith("400 ")


def test_a_traceback_is_in_the_log_although_debug_is_off(project: Path) -> None:
    shown, log = look(project, "localhost:8123", "localhost:8123", path="/broken")
    assert shown.startswith("500 ")
    assert "RuntimeError: the shop is shut" in log
    assert log.count("Traceback") == 1


class Own(logging.Handler):
    """A handler that sends errors elsewhere."""


@pytest.mark.parametrize(
    ("handler", "added"),
    [(logging.StreamHandler(), 0), (Own(), 1), (logging.FileHandler(os.devnull, delay=True), 1)],
)
def test_a_project_that_writes_its_errors_itself_gets_no_second_line(
    monkeypatch: pytest.MonkeyPatch, handler: logging.Handler, added: int
) -> None:
    logger = logging.getLogger("django")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    errors.write_to_log()
    errors.write_to_log()
    assert len(logger.handlers) == 1 + added
