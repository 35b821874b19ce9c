from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_testenv import libraries, settings
from django_testenv.access import access, healthz
from django_testenv.media import places
from django_testenv.stage_copy.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "postgres://tester:hunter2hunter2@db.example:5433/test"
STAGE_URL = "postgres://reader:hunter2hunter2@stage.example/shop"
OURS = [access.MIDDLEWARE, access.HEALTHZ]
VARIABLES = (
    "DATABASE_URL", "STAGE_DATABASE_URL", "DATABASE_SUFFIX", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_BACKEND",
    "SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "STATIC_ROOT",
)  # fmt: skip
GIS = "django.contrib.gis.db.backends.postgis"


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", "test")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def give(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return give


def fresh(**more: Any) -> dict[str, Any]:
    """The settings that startproject writes, as far as they matter here."""
    return {
        "SECRET_KEY": "django-insecure-x",
        "DEBUG": True,
        "ALLOWED_HOSTS": [],
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.sessions", "django.contrib.staticfiles"],
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
        **more,
    }


def applied(more: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
    found = fresh(**(more or {}))
    settings.apply(found, **how)
    return found


@pytest.mark.parametrize(("driver", "is_lent"), [("", True), ("psycopg", False), ("psycopg2", False)])
def test_a_project_without_a_driver_for_postgres_gets_psycopg_in_its_test_environment_alone(
    given: Callable[..., None], monkeypatch: pytest.MonkeyPatch, driver: str, *, is_lent: bool
) -> None:
    monkeypatch.setattr(libraries, "_has", lambda name: name == driver)
    monkeypatch.setattr(sys, "path", [*sys.path])
    given(DJANGO_TESTENV_LIBRARIES="/opt/django-testenv")
    applied()
    assert "/opt/django-testenv" not in sys.path  # no database of ours
    given(DATABASE_URL=URL)
    applied()
    assert (sys.path[-1] == "/opt/django-testenv") is is_lent


def test_apps_middleware_and_access_are_added_to_a_fresh_project() -> None:
    found = applied()
    assert found["INSTALLED_APPS"][-2:] == ["django_testenv.access", "django_testenv.stage_copy"]
    assert found["MIDDLEWARE"] == [*OURS, "django.middleware.security.SecurityMiddleware"]
    assert found["TEST_ACCESS"] == {"environments": ["test"], "open_paths": ["/healthz"]}
    assert found["STATIC_ROOT"] == "staticfiles"
    assert (found["SECRET_KEY"], found["DEBUG"], found["ALLOWED_HOSTS"]) == ("django-insecure-x", True, [])
    assert found["DATABASES"] == fresh()["DATABASES"]
    assert "EMAIL_BACKEND" not in found
    assert healthz.PATH in found["TEST_ACCESS"]["open_paths"]
    assert f"{healthz.Healthz.__module__}.{healthz.Healthz.__qualname__}" == access.HEALTHZ


def test_a_second_call_changes_nothing(given: Callable[..., None]) -> None:
    given(DATABASE_URL=URL, DATABASE_SUFFIX="_x", STAGE_DATABASE_URL=STAGE_URL, EMAIL_HOST="localhost")
    found = applied(whitenoise=True)
    before = dict(found)
    settings.apply(found, whitenoise=True)
    assert found == before


def test_a_projects_tuples_stay_tuples_and_its_own_lists_are_not_changed() -> None:
    apps, middleware = ("django.contrib.auth",), ["shop.First", access.HEALTHZ]
    found = applied({"INSTALLED_APPS": apps, "MIDDLEWARE": middleware})
    assert found["INSTALLED_APPS"] == (*apps, "django_testenv.access", "django_testenv.stage_copy")
    assert found["MIDDLEWARE"] == [*OURS, "shop.First"]
    assert middleware == ["shop.First", access.HEALTHZ]
    assert applied({"MIDDLEWARE": ("shop.First",)})["MIDDLEWARE"] == (*OURS, "shop.First")


def test_an_app_that_is_there_by_its_configuration_is_not_added_again() -> None:
    apps = ["django_testenv.access.apps.TestAccessConfig", "django_testenv.stage_copy"]
    assert applied({"INSTALLED_APPS": apps})["INSTALLED_APPS"] == apps


def test_whitenoise_comes_third_unless_the_project_has_it() -> None:
    ours = "whitenoise.middleware.WhiteNoiseMiddleware"
    assert applied(whitenoise=True)["MIDDLEWARE"][:3] == [*OURS, ours]
    own = {"MIDDLEWARE": ["a.B", "shop.static.MyWhiteNoise"]}
    assert applied(own, whitenoise=True)["MIDDLEWARE"] == [*OURS, "a.B", "shop.static.MyWhiteNoise"]


@pytest.mark.parametrize(
    ("environment", "name"),
    [("test", None), ("test", ""), ("test", "stage"), ("test", "Test"), ("test", "production"), ("", "")],
)
def test_in_another_environment_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, environment: str, name: str | None
) -> None:
    if name is None:
        monkeypatch.delenv("COPILOT_ENVIRONMENT_NAME")
    else:
        monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", name)
    found = fresh()
    with pytest.raises(ImproperlyConfigured, match="are for the test environment"):
        settings.apply(found, environment=environment)
    assert found == fresh()


@pytest.mark.parametrize("name", ["production", "prod", "live", "Production"])
def test_production_is_no_test_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", name)
    found = fresh()
    with pytest.raises(ImproperlyConfigured, match="is not a test environment"):
        settings.apply(found, environment=name)
    assert found == fresh()


def test_another_environment_may_be_the_test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPILOT_ENVIRONMENT_NAME", "qa")
    assert applied(environment="qa")["TEST_ACCESS"]["environments"] == ["qa"]


def test_the_projects_own_access_settings_stay_and_this_environment_is_among_them() -> None:
    own = {"environments": ("preview",), "open_paths": ["/hooks/*"], "mail_backends": ["shop.Nowhere"]}
    assert applied({"TEST_ACCESS": own})["TEST_ACCESS"] == {
        "environments": ["preview", "test"],
        "open_paths": ["/hooks/*", "/healthz"],
        "mail_backends": ["shop.Nowhere"],
    }
    for wrong in (None, ["test"], {"open_paths": "/x"}):
        found = applied({"TEST_ACCESS": wrong})["TEST_ACCESS"]
        assert found is wrong or found["open_paths"] == "/x"


def test_databases_come_from_their_variables(given: Callable[..., None]) -> None:
    given(DATABASE_URL=URL, STAGE_DATABASE_URL=STAGE_URL, DATABASE_SUFFIX="_feature_x")
    found = applied()["DATABASES"]
    default, stage = found["default"], found["stage"]
    assert default["ENGINE"] == stage["ENGINE"] == "django.db.backends.postgresql"
    assert (default["NAME"], default["HOST"], default["PORT"]) == ("test_feature_x", "db.example", "5433")
    assert (stage["NAME"], stage["USER"], stage["HOST"]) == ("shop", "reader", "stage.example")
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "engine", [GIS, "django_prometheus.db.backends.postgresql", "psqlextra.backend", "shop.db.postgres"]
)
def test_a_postgres_engine_of_the_projects_stays_with_the_way_it_is_used(
    given: Callable[..., None], engine: str
) -> None:
    given(DATABASE_URL=URL, STAGE_DATABASE_URL=STAGE_URL)
    own = {
        "ENGINE": engine,
        "NAME": "production",
        "USER": "root",
        "PASSWORD": "prod",
        "HOST": "prod.example",
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            "sslmode": "require",
            "host": "prod.example",
            "options": "-c search_path=shop",
            "pool": True,
        },
    }
    found = applied({"DATABASES": {"default": own, "other": {"NAME": "kept"}}})["DATABASES"]
    default = found["default"]
    assert (default["ENGINE"], default["ATOMIC_REQUESTS"], default["CONN_MAX_AGE"]) == (engine, True, 0)
    assert default["OPTIONS"] == {"options": "-c search_path=shop", "pool": True, "connect_timeout": "5"}
    assert "prod" not in repr({key: default[key] for key in ("NAME", "USER", "HOST", "PORT")})
    assert default["PASSWORD"] == "hunter2hunter2"
    assert found["other"] == {"NAME": "kept"}
    assert own["NAME"] == "production"
    assert found["stage"]["ENGINE"] == "django.db.backends.postgresql"


def test_the_schemes_of_other_packages_are_postgres_too(given: Callable[..., None]) -> None:
    rest = URL.partition("://")[2]
    for scheme, engine in (("postgis", GIS), ("psql", "django.db.backends.postgresql")):
        given(DATABASE_URL=f"{scheme}://{rest}")
        found = applied()["DATABASES"]["default"]
        assert (found["ENGINE"], found["NAME"]) == (engine, "test")


@pytest.mark.parametrize("variable", ["DATABASE_URL", "STAGE_DATABASE_URL"])
def test_a_url_that_cannot_be_read_is_named_and_not_repeated(
    given: Callable[..., None], variable: str
) -> None:
    given(**{variable: "mysql://root:hunter2hunter2@db/x"})
    found = fresh()
    with pytest.raises(ImproperlyConfigured, match=f"{variable} cannot be read") as raised:
        settings.apply(found)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__context__ is None
    assert found == fresh()


def test_the_suffix_is_appended_once(given: Callable[..., None]) -> None:
    given(DATABASE_SUFFIX="_x")
    for name, wanted in (("test", "test_x"), ("test_x", "test_x")):
        own = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": name}}
        assert applied({"DATABASES": own})["DATABASES"]["default"]["NAME"] == wanted
    given(DATABASE_SUFFIX="x; drop")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_SUFFIX"):
        applied()


def test_mail_goes_to_a_sidecar_else_to_the_backend_and_never_to_another_host(
    given: Callable[..., None],
) -> None:
    own = {"EMAIL_HOST": "smtp.example", "EMAIL_USE_TLS": True, "EMAIL_HOST_PASSWORD": "x"}
    given(EMAIL_HOST="smtp.example", EMAIL_BACKEND="django.core.mail.backends.console.EmailBackend")
    found = applied(own)
    assert found["EMAIL_BACKEND"] == "django.core.mail.backends.console.EmailBackend"
    assert found["EMAIL_HOST_PASSWORD"] == "x"
    given(EMAIL_HOST="localhost", EMAIL_PORT="1025")
    found = applied(own)
    assert (found["EMAIL_BACKEND"], found["EMAIL_HOST"], found["EMAIL_PORT"]) == (
        "django.core.mail.backends.smtp.EmailBackend", "localhost", 1025,
    )  # fmt: skip
    assert (found["EMAIL_USE_TLS"], found["EMAIL_HOST_PASSWORD"]) == (False, "")
    for port in ("0", "smtp", "70000", "25 "):
        given(EMAIL_PORT=port)
        with pytest.raises(ImproperlyConfigured, match="EMAIL_PORT"):
            applied()


def test_what_staging_is_copied_without_depends_on_the_apps() -> None:
    found = applied()["STAGE_COPY"]
    assert found["exclude_data"] == ["django_session"]
    assert found["mask"]["auth_user.email"] == "email"
    assert Options.read(found, key="made-up").mask["auth_user.password"].value == "!"
    assert applied({"AUTH_USER_MODEL": "shop.User"})["STAGE_COPY"] == {"exclude_data": ["django_session"]}
    assert applied({"INSTALLED_APPS": ["django.contrib.authx"]})["STAGE_COPY"] == {}
    admin = {"INSTALLED_APPS": ["django.contrib.admin"]}
    assert applied(admin)["STAGE_COPY"] == {"exclude_data": ["django_admin_log"]}
    full = {"INSTALLED_APPS": ["django.contrib.auth.apps.AuthConfig"]}
    assert list(applied(full)["STAGE_COPY"]) == ["mask"]


def test_what_the_project_says_of_the_copy_counts() -> None:
    own = {"exclude_data": ["log"], "mask": {"shop.email": "email", "auth_user.email": "keep"}, "golden": {}}
    found = applied({"STAGE_COPY": own})["STAGE_COPY"]
    assert (found["exclude_data"], found["golden"]) == (["log"], {})
    assert found["mask"]["shop.email"] == "email"
    assert found["mask"]["auth_user.email"] == "keep"
    assert found["mask"]["auth_user.last_name"] == "name"
    assert own["mask"] == {"shop.email": "email", "auth_user.email": "keep"}
    assert applied({"STAGE_COPY": ["wrong"]})["STAGE_COPY"] == ["wrong"]
    assert applied({"STAGE_COPY": {"mask": "wrong"}})["STAGE_COPY"]["mask"] == "wrong"


def test_named_settings_come_from_their_variables_where_these_are_set(given: Callable[..., None]) -> None:
    names = ["SECRET_KEY", "DEBUG", "ALLOWED_HOSTS"]
    found = applied(from_environment=names)
    assert (found["SECRET_KEY"], found["DEBUG"], found["ALLOWED_HOSTS"]) == ("django-insecure-x", True, [])
    given(SECRET_KEY="hunter2", DEBUG="False", ALLOWED_HOSTS="a.example, .b.example,")
    found = applied(from_environment=names)
    assert (found["SECRET_KEY"], found["DEBUG"]) == ("hunter2", False)
    assert found["ALLOWED_HOSTS"] == ["a.example", ".b.example"]
    assert "hunter2" not in repr(found)
    found = applied(from_environment=["DEBUG"])
    assert (found["SECRET_KEY"], found["DEBUG"]) == ("django-insecure-x", False)
    with pytest.raises(ImproperlyConfigured, match="from_environment has 'TIME_ZONE'"):
        applied(from_environment=["TIME_ZONE"])


def test_static_files_go_where_the_project_or_the_variable_says(given: Callable[..., None]) -> None:
    given(STATIC_ROOT="/srv/static")
    assert applied()["STATIC_ROOT"] == "/srv/static"
    assert applied({"STATIC_ROOT": None})["STATIC_ROOT"] == "/srv/static"
    assert applied({"STATIC_ROOT": "/own"})["STATIC_ROOT"] == "/own"


def test_media_are_led_to_the_branchs_place_by_one_variable(
    given: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STAGE_MEDIA_ROOT", raising=False)
    monkeypatch.delenv("STAGE_MEDIA_BUCKET", raising=False)
    assert "STORAGES" not in applied()
    given(STAGE_MEDIA_BUCKET="shop-stage-media")
    found = applied()
    assert found["INSTALLED_APPS"][-1] == "django_testenv.media"
    assert found["MIDDLEWARE"][:3] == [*OURS, places.MIDDLEWARE]
    files = "django.core.files.storage.FileSystemStorage"
    assert found["STORAGES"]["default"] == {
        "BACKEND": places.STORAGE,
        "OPTIONS": {"backend": files, "options": {}},
    }
    static = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    assert found["STORAGES"]["staticfiles"] == static
    before = dict(found)
    settings.apply(found)
    assert found == before


def test_each_storage_of_the_project_keeps_its_class_and_options(given: Callable[..., None]) -> None:
    given(STAGE_MEDIA_BUCKET="shop-stage-media")
    own = {
        "default": {"BACKEND": "shop.storages.Media", "OPTIONS": {"location": "media"}},
        "private": {"BACKEND": "shop.storages.Private"},
        "staticfiles": {"BACKEND": "shop.storages.Static"},
    }
    found = applied({"STORAGES": own})["STORAGES"]
    assert found["default"]["OPTIONS"] == {"backend": "shop.storages.Media", "options": {"location": "media"}}
    assert found["private"]["OPTIONS"] == {"backend": "shop.storages.Private", "options": {}}
    assert found["staticfiles"] == own["staticfiles"]


def test_the_older_setting_of_the_storage_is_led_there_too(
    given: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.VERSION", (4, 2, 0, "final", 0))
    given(STAGE_MEDIA_BUCKET="shop-stage-media")
    found = applied({"DEFAULT_FILE_STORAGE": "shop.storages.Media"})
    assert (found["DEFAULT_FILE_STORAGE"], found["TEST_MEDIA"]) == (
        places.STORAGE,
        {"backend": "shop.storages.Media"},
    )
    assert "STORAGES" not in found
    before = dict(found)
    settings.apply(found)
    assert found == before
