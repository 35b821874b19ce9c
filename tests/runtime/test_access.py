from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import DisallowedHost, ImproperlyConfigured, MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from django_testenv.access import access
from django_testenv.access.middleware import AccessMiddleware

PASSWORD = "tester:pässword: of two parts"
CONSOLE = "django.core.mail.backends.console.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def told(request: HttpRequest) -> HttpResponse:
    """What the project sees of the header that came along."""
    return HttpResponse(request.META.get("HTTP_AUTHORIZATION", "none"))


def broken(_: HttpRequest) -> HttpResponse:
    raise RuntimeError("a view's own mistake")


def forged(_: HttpRequest) -> HttpResponse:
    raise DisallowedHost


async def told_later(request: HttpRequest) -> HttpResponse:
    return told(request)


ROUTES = ("", "healthz", "healthz/more", "healthzz", "hooks/one/two", "hooks")
PATTERNS = (
    *(path(each, told) for each in ROUTES),
    path("broken", broken),
    path("forged", forged),
    path("later", told_later),
)


@pytest.fixture(autouse=True)
def test_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project in the environment `test`, kept as it should be and without a password."""
    if not settings.configured:
        settings.configure(SECRET_KEY="a test's", ALLOWED_HOSTS=["testserver"])
        django.setup()
    monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", "test")
    monkeypatch.delenv("BASIC_AUTH", raising=False)
    with override_settings(
        ROOT_URLCONF=PATTERNS,
        MIDDLEWARE=[access.MIDDLEWARE, "django.middleware.common.CommonMiddleware"],
        TEST_ACCESS={"open_paths": ["/healthz", "/hooks/*"]},
        EMAIL_BACKEND=CONSOLE,
        LOGGING_CONFIG=None,
    ):
        yield


def sync_get(url: str, authorization: str = "") -> Any:
    headers = {"Authorization": authorization} if authorization else {}
    return Client(raise_request_exception=False).get(url, headers=headers)


def async_get(url: str, authorization: str = "") -> Any:
    headers = {"Authorization": authorization} if authorization else {}
    return asyncio.run(AsyncClient(raise_request_exception=False).get(url, headers=headers))


@pytest.fixture(params=[sync_get, async_get], ids=["wsgi", "asgi"])
def get(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


def basic(credentials: str | bytes, scheme: str = "Basic") -> str:
    value = credentials if isinstance(credentials, bytes) else credentials.encode()
    return f"{scheme} {base64.b64encode(value).decode()}"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/", 200),
        ("/later", 200),
        ("/healthz", 200),
        ("/missing", 404),
        ("/forged", 400),
        ("/broken", 500),
    ],
)
def test_every_answer_of_a_test_environment_sends_search_engines_away(
    get: Callable[..., Any], url: str, status: int
) -> None:
    answer = get(url)
    assert (answer.status_code, answer["X-Robots-Tag"]) == (status, "noindex, nofollow")


@pytest.mark.parametrize("name", [None, "", "stage", "production", "Test", "test2"])
def test_outside_test_environments_it_is_not_there_whatever_it_is_given(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setenv("BASIC_AUTH", PASSWORD)
    if name is None:
        monkeypatch.delenv("COPILOT_ENVIRONMENT_NAME")
    else:
        monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", name)
    with pytest.raises(MiddlewareNotUsed):
        AccessMiddleware(told)
    answer = get("/", "Bearer of the project's own")
    assert (answer.status_code, answer.content) == (200, b"Bearer of the project's own")
    assert "X-Robots-Tag" not in answer
    with override_settings(MIDDLEWARE=[], EMAIL_BACKEND=SMTP, EMAIL_HOST="mail.example"):
        access.require_closed()


def test_without_a_password_nobody_is_asked_and_the_projects_own_header_stays(
    get: Callable[..., Any],
) -> None:
    assert get("/").content == b"none"
    assert get("/", "Bearer x").content == b"Bearer x"


def test_with_the_password_one_comes_in_and_the_project_does_not_see_it(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIC_AUTH", PASSWORD)
    for scheme in ("Basic", "basic"):
        answer = get("/", basic(PASSWORD, scheme))
        assert (answer.status_code, answer.content) == (200, b"none")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic é",
        "Bearer x",
        basic(""),
        basic(":"),
        basic("tester:wrong"),
        basic(PASSWORD[:-1]),
        basic(f"{PASSWORD}x"),
        basic(PASSWORD.upper()),
        basic(PASSWORD.encode("latin-1")),
        basic(PASSWORD, "Bearer"),
    ],
)
def test_without_the_very_password_one_is_asked_for_it(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("BASIC_AUTH", PASSWORD)
    for url in ("/", "/missing", "/broken"):
        answer = get(url, given)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Basic realm="test environment", charset="UTF-8"'
        assert answer["X-Robots-Tag"] == "noindex, nofollow"
        assert answer["Cache-Control"] == "no-store"
        assert b"test environment" in answer.content


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/healthz", 200),
        ("/healthz?x=/", 200),
        ("/hooks/one/two", 200),
        ("/healthz/more", 401),
        ("/healthzz", 401),
        ("/hooks", 401),
        ("/HEALTHZ", 401),
        ("/?/healthz", 401),
        ("//healthz", 401),
    ],
)
def test_open_paths_ask_nobody_and_the_ones_near_them_do(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, url: str, status: int
) -> None:
    monkeypatch.setenv("BASIC_AUTH", PASSWORD)
    answer = get(url, "Bearer of a webhook")
    assert answer.status_code == status
    if status == 200:
        assert answer.content == b"Bearer of a webhook"


@pytest.mark.parametrize(
    "value", ["", "hunter2", ":hunter2", "hunter2:", ":", "tester:hunter2\n", "tes\0ter:hunter2", "a:b\tc"]
)
def test_a_password_that_nobody_could_give_stops_the_process_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr("os.environ", {"COPILOT_ENVIRONMENT_NAME": "test", "BASIC_AUTH": value})
    for begin in (access.require_closed, lambda: AccessMiddleware(told)):
        with pytest.raises(ImproperlyConfigured, match="of the form user:password") as raised:
            begin()
        assert "hunter2" not in str(raised.value)


def test_what_is_known_of_the_password_shows_it_in_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIC_AUTH", "tester:hunter2")
    assert "hunter2" not in repr(access.read())


@pytest.mark.parametrize("name", ["test", "production"])
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["test"], "is not a dictionary"),
        (None, "is not a dictionary"),
        ({"enviroments": ["test"]}, "does not know 'enviroments': its keys are environments"),
        ({1: 2}, "does not know 1"),
        ({"environments": "test"}, "must be a list of strings"),
        ({"open_paths": [1]}, "must be a list of strings"),
        ({"open_paths": None}, "must be a list of strings"),
        ({"mail_backends": [""]}, "must be a list of strings"),
        ({"environments": ["test", "Production"]}, "'Production', which is not a test environment"),
        ({"environments": ["live"]}, "'live', which is not a test environment"),
        ({"open_paths": ["healthz"]}, "write a path"),
        ({"open_paths": ["/*"]}, "not of all"),
        ({"open_paths": ["/a/*/b"]}, "write a path"),
        ({"open_paths": ["*"]}, "write a path"),
        ({"open_paths": ["/a**"]}, "write a path"),
    ],
)
def test_a_setting_that_is_wrong_is_told_in_every_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, given: Any, why: str
) -> None:
    monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", name)
    with override_settings(TEST_ACCESS=given), pytest.raises(ImproperlyConfigured, match=why):
        access.require_closed()


def test_other_environments_can_be_named_as_test_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(TEST_ACCESS={"environments": ("preview", "demo")}):
        assert access.read() is None
        monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", "demo")
        assert access.read() == access.Access(None, ())


@pytest.mark.parametrize(
    "order",
    [
        [],
        ["whitenoise.middleware.WhiteNoiseMiddleware"],
        ["whitenoise.middleware.WhiteNoiseMiddleware", access.MIDDLEWARE],
    ],
)
def test_a_test_environment_whose_middleware_is_not_the_first_does_not_start(order: list[str]) -> None:
    with override_settings(MIDDLEWARE=order), pytest.raises(ImproperlyConfigured, match="must be the first"):
        access.require_closed()


@pytest.mark.parametrize(
    ("backend", "host"),
    [
        (SMTP, "smtp.example"),
        (SMTP, "email-smtp.eu-west-1.amazonaws.com"),
        (SMTP, ""),
        (SMTP, "localhost.example"),
        ("anymail.backends.mailgun.EmailBackend", "localhost"),
        ("", "localhost"),
    ],
)
def test_a_test_environment_that_could_send_mail_does_not_start(backend: str, host: str) -> None:
    with (
        override_settings(EMAIL_BACKEND=backend, EMAIL_HOST=host),
        pytest.raises(ImproperlyConfigured, match="Mail would leave this test environment"),
    ):
        access.require_closed()


@pytest.mark.parametrize(
    ("backend", "host"),
    [
        (CONSOLE, "smtp.example"),
        ("django.core.mail.backends.dummy.EmailBackend", "smtp.example"),
        ("shop.mail.Nowhere", "smtp.example"),
        (SMTP, "localhost"),
        (SMTP, "127.0.0.1"),
        (SMTP, "::1"),
    ],
)
def test_a_test_environment_whose_mail_stays_starts(backend: str, host: str) -> None:
    with override_settings(
        EMAIL_BACKEND=backend, EMAIL_HOST=host, TEST_ACCESS={"mail_backends": ["shop.mail.Nowhere"]}
    ):
        access.require_closed()
