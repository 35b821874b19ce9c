# The demo project's image; `web` and its `startup` sidecar both run it.
FROM python:3.13.9-slim-bookworm

# copy_stage_db runs pg_dump, which must not be older than staging's server: Debian's is 15, hence Postgres's own
# repository, whose newest client reads every older server.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-common=248* \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends postgresql-client-18=18.* \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=demo.settings

WORKDIR /app

COPY demo/requirements.txt demo/requirements.txt
RUN pip install --no-cache-dir --require-hashes -r demo/requirements.txt

COPY scripts/runtime/django_testenv django_testenv
COPY demo demo
# The deploy writes deployment.json (branch and commit) into the build context; a build by hand goes without.
COPY manage.py deployment.jso[n] ./

# Fargate's ephemeral volumes take owner and rights from the path that the image declares as a volume.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid 10001 --no-create-home app \
    && install --directory --owner=app --group=app /app/staticfiles
VOLUME /app/staticfiles

USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "demo.wsgi", "--bind", "0.0.0.0:8000", "--config", "demo/gunicorn_conf.py"]
