"""Served means that a person can open it: what is said of pages, and of unhealthy tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.adopt.project import start_project
from tests.clone import Ran, get, interrupt
from tests.e2e.looks import deployed
from tests.e2e.test_adopt import Adopted

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

# As a team has them for production, before the block of `adopt`.
PRODUCTION = """
SECURE_SSL_REDIRECT = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
"""
URLS = """from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path


@login_required(login_url="/admin/login/")
def front(request):
    return HttpResponse("ok")


def styled(request):
    return HttpResponse(static("site.css"))


def broken(request):
    raise RuntimeError("the shop is shut")


urlpatterns = [path("", FRONT), path("admin/", admin.site.urls)]
"""
MANIFEST = """
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}
"""
COLLECTED = f"""{MANIFEST}
STATICFILES_DIRS = [BASE_DIR / "styles"]
STATIC_ROOT = BASE_DIR / "collected"
"""
ASSETS = """FROM node:22-slim AS assets
WORKDIR /assets
RUN npm run build

"""
COLLECT = "python manage.py collectstatic --noinput"
NO_SETTINGS = """import mysite.no_such_settings
"""
# What uWSGI does where it finds no application: a traceback, and 500 for everything.
NO_APPLICATION = """import traceback

try:
    import mysite.no_such_settings
except ImportError:
    traceback.print_exc()


def application(environ, start_response):
    start_response("500 Internal Server Error", [])
    return [b"Internal Server Error"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """A fresh project with settings of production, adopted, with a branch for each way to fail."""
    folder = start_project(tmp_path_factory.mktemp("shop"), more_settings=PRODUCTION)
    project = Adopted(folder, tmp_path_factory.mktemp("installed"))
    project.adopt()
    project.commit("Adopted")
    settings = (folder / "mysite/settings.py").read_text()
    dockerfile = (folder / "Dockerfile").read_text()
    assert "0.0.0.0:8000" in dockerfile
    project.branch("login", {"mysite/urls.py": URLS.replace("FRONT", "front")})
    project.branch("raises", {"mysite/urls.py": URLS.replace("FRONT", "broken")})
    project.branch("hosts", {"mysite/settings.py": f'{settings}\nALLOWED_HOSTS = ["www.shop.example"]\n'})
    project.branch("https", {"mysite/settings.py": f"{settings}\nSECURE_SSL_REDIRECT = True\n"})
    project.branch(
        "assets",
        {
            "Dockerfile": f"{ASSETS}{dockerfile}\nCOPY --from=assets /assets/dist /app/mysite/static\n",
            "mysite/settings.py": f"{settings}{MANIFEST}",
            "mysite/urls.py": URLS.replace("FRONT", "styled"),
        },
    )
    project.branch(
        "collected",
        {
            "Dockerfile": f"{dockerfile}\nCOPY styles styles\nRUN SECRET_KEY=dummy {COLLECT}\n",
            "mysite/settings.py": f"{settings}{COLLECTED}",
            "mysite/urls.py": URLS.replace("FRONT", "styled"),
            "styles/site.css": "body {}\n",
        },
    )
    project.branch("worker", {"mysite/wsgi.py": NO_SETTINGS})
    project.branch("stays-up", {"mysite/wsgi.py": NO_APPLICATION})
    project.branch("port", {"Dockerfile": dockerfile.replace("0.0.0.0:8000", "0.0.0.0:8080")})
    yield project
    project.stop()


def failed(ran: Ran, *words: str) -> None:
    """Exit code 4 with these words; a traceback is the project's own, indented as its log."""
    assert ran.code == 4, ran.err
    assert "\nTraceback" not in ran.err
    assert all(word in ran.err for word in words), ran.err


def test_a_project_without_a_root_page_is_served_behind_plain_http_and_that_is_said(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "main")
    url = deployed(ran)
    assert f"(The page {url}: it answers 404: the project runs and has no page at this address.)" in ran.err
    assert "csrfmiddlewaretoken" in get(f"{url}/admin/login/")[1]


def test_a_redirect_to_a_login_is_followed_and_served(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "login", "--json")
    assert ran.code == 0, ran.err
    page = json.loads(ran.out)["page"]
    assert (page["status"], page["fault"]) == (200, None)
    assert page["url"].endswith("/admin/login/?next=/")
    again = json.loads(shop.do("deploy-test", "--branch", "login", "--json").out)
    assert again["page"] == page


def test_a_view_that_raises_is_deployed_and_not_called_served(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "raises", "--json")
    failed(ran, "is deployed and stays so, but does not work", "it answers 500", "the shop is shut")
    assert "is served" not in ran.err
    found = json.loads(ran.out)
    assert (found["branch"], found["page"]["fault"]) == ("raises", "server_error")
    assert [(each["branch"], each["page"]["status"]) for each in shop.status()] == [("raises", 500)]
    assert "its page answers 500" in shop.do("status").out
    assert get(found["url"])[0] == 500


def test_the_same_commit_again_is_not_called_served_either(shop: Adopted) -> None:
    again = shop.invoke("deploy-test", "--branch", "raises")
    failed(again, "it answers 500")
    assert again.out == ""


def test_assets_that_nothing_built_are_named_at_the_build_and_at_the_page(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "assets")
    failed(
        ran,
        "it answers 500",
        "Missing staticfiles manifest entry for 'site.css'",
        "was not collected or not built",
    )
    assert "line 3 made no files here: `npm run build`" in ran.err
    assert "copied nothing here: `COPY --from=assets /assets/dist /app/mysite/static`" in ran.err
    assert "SANDBOX_CONTAINERS=engine" in ran.err


def test_static_files_that_the_dockerfile_collects_are_there_when_a_container_starts(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "collected")
    url = deployed(ran)
    assert re.search(rf"line \d+ runs when a container starts: `{COLLECT}`", ran.err)
    assert re.fullmatch(r"/static/site\.\w{12}\.css", get(url)[1])
    log = shop.do("logs", "--branch", "collected").out
    assert "static files copied to '/app/collected', " in log
    assert f"of the Dockerfile: {COLLECT}" in log


def test_a_host_that_django_does_not_know_is_told_with_the_setting(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "hosts")
    failed(ran, "it answers 400", "Django does not know the host localhost", "ALLOWED_HOSTS")
    assert "Invalid HTTP_HOST header: 'localhost:" in ran.err
    assert "copilot/web/manifest.yml" in ran.err


def test_a_redirect_to_https_is_told_with_the_setting(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "https")
    failed(ran, "it redirects to https://localhost", "SECURE_SSL_REDIRECT = False")


def test_a_worker_that_cannot_import_its_settings_is_quoted(shop: Adopted) -> None:
    ran = shop.invoke("deploy-test", "--branch", "worker")
    failed(ran, "The container `web` ended with exit code", "No module named 'mysite.no_such_settings'")


# ELB decides after two intervals, of 30 s by default; a task is told of before that.
_UNHEALTHY = re.compile("is not healthy: (Initial health checks in progress|Health checks failed)")


def interrupted_once_told(shop: Adopted, branch: str) -> str:
    """What a deploy says until it tells that a task is not healthy, which is when Ctrl-C is pressed."""
    process = shop.start("deploy-test", "--branch", branch)
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "The deploy waits on" in line:
            break
    interrupt(process)
    _, rest = process.communicate(timeout=200)
    assert process.returncode == 130, said + rest
    assert "has been rolled back" in rest
    return said


def test_a_container_that_stays_up_and_is_not_healthy_is_told_while_copilot_waits(shop: Adopted) -> None:
    said = interrupted_once_told(shop, "stays-up")
    assert _UNHEALTHY.search(said), said
    assert "No module named 'mysite.no_such_settings'" in said
    seconds = re.findall(r"it has run for (\d+) s", said)
    assert len(seconds) == 1
    assert int(seconds[0]) < 60


def test_a_port_that_nobody_listens_on_is_told_with_the_one_that_is(shop: Adopted) -> None:
    said = interrupted_once_told(shop, "port")
    assert _UNHEALTHY.search(said), said
    assert "the server listens on port 8080, and the load balancer asks port 8000" in said
    assert "`image.port`" in said
