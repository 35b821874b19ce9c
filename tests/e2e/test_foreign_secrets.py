"""A project whose settings and manifest name secrets of its own, adopted and served with made-up values."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.adopt.project import start_project
from tests.clone import get, get_json
from tests.e2e.looks import deployed
from tests.e2e.test_adopt import Adopted

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

# Nothing here has a default, as people write it: each import of the settings needs each variable.
SETTINGS = """
import os, json
STRIPE_KEY = os.environ["STRIPE_KEY"]
MAIL = {"key": os.environ["MAIL_API_KEY"], "host": os.environ["EMAIL_HOST"]}
PAGE_SIZE = int(os.environ["PAGE_SIZE"])
USE_TOOLBAR = bool(int(os.environ["USE_TOOLBAR"]))
FIELD_KEY = os.environ["FIELD_ENCRYPTION_KEY"]
SENTRY_DSN = os.environ["SENTRY_DSN"]
PARTNER = (os.environ["PARTNER_TOKEN"], os.environ["PARTNER_URL"])
OFFICE = os.environ["OFFICE"]
AWS_ACCESS_KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
AWS_SECRET_ACCESS_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
AWS_STORAGE_BUCKET_NAME = os.environ["AWS_STORAGE_BUCKET_NAME"]
STORAGES = {
    "default": {"BACKEND": "storages.backends.s3.S3Storage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
_RDS = json.loads(os.environ["RDS_CREDENTIALS"])
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": _RDS["dbname"], "USER": _RDS["username"],
    "PASSWORD": _RDS["password"], "HOST": _RDS["host"], "PORT": _RDS["port"],
    "OPTIONS": {"sslmode": "require"},
}}
"""
URLS = """
import hashlib
import os
import boto3
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections
from django.http import JsonResponse
from django.urls import path
import psycopg


def values(request):
    rds = settings._RDS if hasattr(settings, "_RDS") else __import__("mysite.settings").settings._RDS
    with psycopg.connect(host=rds["host"], port=rds["port"], dbname=rds["dbname"], user=rds["username"],
                         password=rds["password"], sslmode="require") as own:
        name = own.execute("SELECT current_database()").fetchone()[0]
    return JsonResponse({
        "stripe": hashlib.sha256(settings.STRIPE_KEY.encode()).hexdigest(),
        "length": len(settings.STRIPE_KEY),
        "mail": settings.MAIL["host"], "field": len(settings.FIELD_KEY), "dsn": settings.SENTRY_DSN,
        "office": settings.OFFICE, "database": name, "partner": settings.PARTNER[1],
    })


def media(request):
    name = default_storage.save("photo.txt", ContentFile(b"a photo" * 10000))
    with default_storage.open(name) as stored:
        kept = stored.read() == b"a photo" * 10000
    account = boto3.client("sts").get_caller_identity()["Account"]
    return JsonResponse({"name": name, "kept": kept, "account": account, "files": os.environ["FROM_FILE"]})


urlpatterns = [path("values", values), path("media", media)]
"""
PATH = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets"
MANIFEST = f"""name: web
type: Load Balanced Web Service
http: {{path: '/'}}
image: {{build: Dockerfile, port: 8000}}
cpu: 256
memory: 512
count: 1
variables:
  OFFICE: Zürich
  AWS_STORAGE_BUCKET_NAME: shop-media
  PARTNER_URL: {{from_cfn: "partner-${{COPILOT_ENVIRONMENT_NAME}}-Url"}}
env_file: web.env
secrets:
  AWS_ACCESS_KEY_ID: {PATH}/AWS_ACCESS_KEY_ID
  AWS_SECRET_ACCESS_KEY: {PATH}/AWS_SECRET_ACCESS_KEY
  STRIPE_KEY: /shop/${{COPILOT_ENVIRONMENT_NAME}}/STRIPE_KEY
  MAIL_API_KEY: {{secretsmanager: 'shop/mail:api_key::'}}
  EMAIL_HOST: {PATH}/EMAIL_HOST
  PAGE_SIZE: {PATH}/PAGE_SIZE
  USE_TOOLBAR: {PATH}/USE_TOOLBAR
  FIELD_ENCRYPTION_KEY: {PATH}/FIELD_ENCRYPTION_KEY
  SENTRY_DSN: {PATH}/SENTRY_DSN
  PARTNER_TOKEN: {{from_cfn: "partner-${{COPILOT_ENVIRONMENT_NAME}}-Token"}}
  RDS_CREDENTIALS: {{secretsmanager: 'shop/rds'}}
"""
# Copilot refuses it: a CDN in front of an imported certificate needs one of its own, `cdn.certificate`.
PRODUCTION = """name: production
type: Environment
http: {public: {certificates: [arn:aws:acm:eu-west-1:111111111111:certificate/1-2-3]}}
cdn: true
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """Adopted and committed; the checkout is a branch whose settings cannot be imported."""
    files = {
        "mysite/urls.py": URLS,
        "copilot/environments/production/manifest.yml": PRODUCTION,
        "Dockerfile": (
            "FROM python:3.12-slim\nWORKDIR /srv\nCOPY requirements.txt ./\n"
            "RUN pip install -r requirements.txt\n"
            "COPY mysite mysite\nCOPY manage.py ./\nUSER nobody\n"
            'CMD ["gunicorn", "mysite.wsgi", "--bind", "0.0.0.0:8000"]\n'
        ),
        "requirements.txt": "Django>=5.2,<5.3\ngunicorn\npsycopg[binary]\ndjango-storages[s3]\n",
        "web.env": "FROM_FILE=1\n",
    }
    folder = start_project(tmp_path_factory.mktemp("shop"), files, MANIFEST, SETTINGS)
    project = Adopted(folder, tmp_path_factory.mktemp("installed"))
    project.environments = "all"
    project.adopt()
    project.commit("Adopted")
    project.branch("feature/broken", {"mysite/settings.py": "raise SystemExit('half done')\n"})
    project.git("checkout", "--quiet", "feature/broken")
    yield project
    project.stop()


def test_a_project_with_secrets_of_its_own_is_served_from_a_broken_checkout(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "main")
    url = deployed(ran)
    said = [line for line in ran.err.splitlines() if "made up" in line]
    assert len(said) == 1
    assert "EMAIL_HOST, FIELD_ENCRYPTION_KEY, MAIL_API_KEY, PAGE_SIZE" in said[0]
    assert ".sandbox.env" in said[0]
    assert ran.err.count("the environment production is left out") == 1
    assert "Copilot has made the application and the environment test" in ran.err
    status, text = get(f"{url}/values")
    assert status == 200, text
    values = json.loads(text)
    assert (values["office"], values["mail"], values["dsn"]) == ("Zürich", "localhost", "")
    assert values["partner"].endswith(".invalid")
    assert (values["length"], values["field"], values["database"]) == (43, 44, "test")


def test_media_are_stored_in_the_embedded_s3_and_read_again(shop: Adopted) -> None:
    url = deployed(shop.invoke("deploy-test", "--branch", "main"))
    status, text = get(f"{url}/media")
    assert status == 200, text
    found = json.loads(text)
    assert (found["kept"], found["account"], found["files"]) == (True, "123456789012", "1")


def test_values_of_the_users_file_are_used_at_once_and_made_up_ones_outlast_a_restart(shop: Adopted) -> None:
    url = deployed(shop.invoke("deploy-test", "--branch", "main"))
    before = get_json(f"{url}/values")
    (shop.folder / ".sandbox.env").write_text("EMAIL_HOST=smtp.example.org\n")
    (shop.folder / ".sandbox.env").chmod(0o600)
    shop.invoke("sandbox", "--stop")
    ran = shop.invoke("deploy-test", "--branch", "main")
    after = get_json(f"{deployed(ran)}/values")
    assert after == {**before, "mail": "smtp.example.org"}
    assert "made up" not in ran.err
    assert "smtp.example.org" not in ran.out + ran.err
    assert shop.git("status", "--porcelain") == ""
