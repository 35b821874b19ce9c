"""The files that most of the toy repositories have."""

from __future__ import annotations

MANAGE = """import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""
SETTINGS = """import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "for this machine")
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}}
USE_TZ = True
"""
URLS = """from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(f"The shop has {User.objects.count()} users."))]
"""
WSGI = """import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
application = get_wsgi_application()
"""
MANIFEST = """name: web
type: Load Balanced Web Service

http:
  path: '/'
  healthcheck: /

image:
  build: {build}
  port: 8000

cpu: 256
memory: 512
count: 1
exec: true

environments:
  production:
    count: 2
"""
WORKER = """name: worker
type: Backend Service

image:
  build: {build}
cpu: 256
memory: 512
count: 1
"""
DOCKERFILE = """FROM python:3.12-slim
WORKDIR /srv
COPY {requirements} ./
RUN pip install -r requirements.txt
COPY {source} .
CMD ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000"]
"""
# Paths of the image in a script, which Git does not have as executable.
START = """#!/bin/sh
set -e
test -f /srv/manage.py
cd /srv
exec "$@"
"""
STARTED = """FROM python:3.12-slim
COPY requirements.txt /tmp
RUN pip install -r /tmp/requirements.txt
WORKDIR /srv
COPY . .
COPY ./manage.py /srv
COPY scripts /scripts
RUN chmod -R +x /scripts
ENTRYPOINT ["/scripts/start"]
CMD ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000", "--chdir", "/srv"]
"""
NGINX = """
server {
    listen 80;
    location / {
        proxy_pass http://localhost:8000;
        proxy_set_header Host $http_host;
    }
}
"""
REQUIREMENTS = "Django>=5.2,<5.3\ngunicorn\npsycopg2-binary\n"
