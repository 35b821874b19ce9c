"""The demo serves its pages, tells its health, and fills a staging database."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from copilot_testenv.deploys.probe import open_page
from tests.runtime.stage_copy.project import CHECKOUT, UNREACHABLE, Project, project
from tests.runtime.stage_copy.servers import PostgresServer, postgres_server, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "4f1c2a9d7be0c3551f2a60a1d7e2b98cf0aa1234"
PASSWORD = "s3cret/with:odd@signs"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        running.create_role("shop", PASSWORD, "CREATEDB")
        yield running


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    with redis_server() as port:
        yield port


@pytest.fixture(scope="module")
def shop(server: PostgresServer, redis_port: int, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with its database, migrated and filled, its Redis and its collected files."""
    home = tmp_path_factory.mktemp("image")
    made = project(
        home / "app",
        DATABASE_URL=server.url("shop", PASSWORD, "shop"),
        REDIS_HOST="127.0.0.1",
        REDIS_PORT=str(redis_port),
        STATIC_ROOT=str(home / "static"),
    )
    about = {"branch": "feature/<b>basket", "commit": COMMIT, "deployed_by": "ada & co"}
    (made.home / "deployment.json").write_text(json.dumps(about))
    with server.connect(role="shop", password=PASSWORD) as connection:
        connection.execute("CREATE DATABASE shop")
    for command in (
        ("migrate", "--noinput"),
        ("collectstatic", "--noinput"),
        ("fill_stage", "--megabytes", "12"),
    ):
        done = made.manage(*command)
        assert done.returncode == 0, done.stderr
    return made


@contextmanager
def served(project: Project, **variables: str) -> Iterator[str]:
    """Serve `project` by the image's own command, on a free port of loopback, and yield its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    command = json.loads(re.findall(r"^CMD (.*)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)[0])
    argv = [sys.executable, "-m", *(word.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for word in command)]
    web = subprocess.Popen(
        argv,
        cwd=project.home,
        env=project.environment(WEB_CONCURRENCY="1", **variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert web.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        web.terminate()
        assert web.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def address(shop: Project) -> Iterator[str]:
    with served(shop) as running:
        yield running


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address + path, timeout=10) as answer:  # noqa: S310  served() made it
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def headers(address: str, path: str, authorization: str = "") -> tuple[int, str | None]:
    """The status, and what search engines are told."""
    sent = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(address + path, headers=sent)  # noqa: S310  served() made it
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  see above
            return answer.status, answer.headers["X-Robots-Tag"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["X-Robots-Tag"]


def status(address: str) -> Any:
    return json.loads(get(address, "/status.json")[1])


def test_the_front_page_shows_what_is_served_and_escapes_it(address: str) -> None:
    code, page = get(address, "/")
    assert code == 200
    assert "<h1>feature/&lt;b&gt;basket</h1>" in page
    assert "A test copy of the shop, of ada &amp; co, until it expires." in page
    assert COMMIT[:12] in page
    assert "not a copy of another database" in page
    assert "25\u202f200" in page  # events


def test_the_front_page_loads_nothing_from_elsewhere_and_its_styles_are_served(address: str) -> None:
    page = get(address, "/")[1]
    assert "//" not in page.replace("<!doctype html>", "")
    (styles,) = re.findall(r'href="(/static/shop/shop\.[0-9a-f]{12}\.css)"', page)
    code, css = get(address, styles)
    assert code == 200
    assert "@media" in css


def test_status_says_the_same_as_json(address: str) -> None:
    found = status(address)
    assert found["branch"] == "feature/<b>basket"
    assert found["commit"] == COMMIT
    assert found["data_copied_at"] is None
    assert found["rows"] == {
        "shop_customer": 1080,
        "shop_product": 500,
        "shop_order": 2640,
        "shop_orderline": 7920,
        "shop_event": 25200,
    }
    assert found["migrations"]["shop"] == "0001_initial"


def test_each_visit_of_the_front_page_is_counted_in_redis(address: str) -> None:
    before = status(address)["counter"]
    get(address, "/")
    get(address, "/")
    assert status(address)["counter"] == before + 2


def test_the_age_of_the_data_comes_from_the_copys_stamp(address: str, server: PostgresServer) -> None:
    stamp = json.dumps({"copied_at": "2026-01-02T03:04:05+00:00", "source": "staging", "rows": 9})
    server.run(f"COMMENT ON DATABASE shop IS '{stamp}'")
    try:
        assert status(address)["data_copied_at"] == "2026-01-02T03:04:05+00:00"
        assert "2 Jan 2026, 03:04" in get(address, "/")[1]
        server.run("COMMENT ON DATABASE shop IS 'written by hand'")
        assert status(address)["data_copied_at"] is None
    finally:
        server.run("COMMENT ON DATABASE shop IS NULL")


def test_the_admin_asks_who_you_are(address: str) -> None:
    code, page = get(address, "/admin/")
    assert code == 200
    assert "csrfmiddlewaretoken" in page


def test_health_is_200_while_database_and_redis_answer(address: str) -> None:
    assert get(address, "/healthz") == (200, "ok\n")


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize(
    ("broken", "names"),
    [
        ({"REDIS_PORT": "1"}, "redis"),
        ({"DATABASE_URL": UNREACHABLE}, "database"),
        ({"DATABASE_URL": UNREACHABLE, "REDIS_PORT": "1"}, "database, redis"),
    ],
)
def test_health_is_503_and_names_what_does_not_answer(
    shop: Project, broken: dict[str, str], names: str
) -> None:
    with served(shop, **broken) as address:
        began = time.monotonic()
        assert get(address, "/healthz") == (503, f"unreachable: {names}\n")
        assert time.monotonic() - began < 30
        code, page = get(address, "/")
        assert code == 200
        assert "Unreachable" in page


def test_a_test_environment_hides_and_asks_for_the_password_where_there_is_one(
    shop: Project, address: str
) -> None:
    page = get(address, "/")[1]
    paths = ("/", "/missing", *re.findall(r'href="(/static/[^"]*css)"', page))
    assert [headers(address, path) for path in paths] == [(200, None), (404, None), (200, None)]
    given = f"Basic {base64.b64encode(b'tester:let me in').decode()}"
    hidden = "noindex, nofollow"
    with served(shop, COPILOT_ENVIRONMENT_NAME="test", BASIC_AUTH="tester:let me in") as closed:
        assert [headers(closed, path) for path in paths] == [(401, hidden)] * 3
        assert [headers(closed, path, given)[0] for path in paths] == [200, 404, 200]
        assert headers(closed, "/healthz") == (200, hidden)
        assert open_page(closed).fault is None  # `deploy-test` takes it for served


def test_without_a_deployment_file_branch_and_commit_are_unknown(shop: Project, tmp_path: Path) -> None:
    plain = replace(project(tmp_path / "app"), variables=shop.variables)
    with served(plain) as address:
        assert (status(address)["branch"], status(address)["commit"]) == ("unknown", "unknown")
        (plain.home / "deployment.json").write_text("[1]")
        assert status(address)["branch"] == "unknown"


def test_fill_stage_makes_about_the_size_it_was_asked_for(shop: Project, server: PostgresServer) -> None:
    assert shop
    with server.connect("shop") as connection:
        row = connection.execute("SELECT pg_database_size('shop') / 1024.0 / 1024").fetchone()
    # An empty database takes 9 MB or so, which matters at this size; 50 MB are met within one.
    assert row
    assert 12 < float(str(row[0])) < 22


def test_fill_stage_refuses_a_database_that_has_customers(shop: Project) -> None:
    done = shop.manage("fill_stage", "--megabytes", "1")
    assert done.returncode == 1
    assert "this database already has customers" in done.stderr


def test_fill_stage_makes_the_same_rows_each_time(shop: Project, server: PostgresServer) -> None:
    digests = set()
    for name in ("again1", "again2"):
        with server.connect(role="shop", password=PASSWORD) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = server.url("shop", PASSWORD, name)
        for command in (("migrate", "--noinput"), ("fill_stage", "--megabytes", "1")):
            assert shop.manage(*command, DATABASE_URL=url).returncode == 0
        with server.connect(name) as connection:
            digests.add(
                connection.execute(
                    """SELECT (SELECT md5(string_agg(md5(e::text), '' ORDER BY id)) FROM shop_event e),
                              (SELECT md5(string_agg(md5(l::text), '' ORDER BY id)) FROM shop_orderline l)"""
                ).fetchone()
            )
    assert len(digests) == 1


def test_the_models_and_the_migrations_agree(shop: Project) -> None:
    done = shop.manage("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout
