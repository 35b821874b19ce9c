from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from copilot_sandbox.agent import nginx, nginx_start
from copilot_sandbox.agent.agent import TaskAgent
from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import NGINX_CMD, NGINX_ENTRYPOINT, Image, Mount
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    balanced,
    completed,
    container,
    grouped,
    make_image,
    over,
    running_agent,
    server,
    service,
    shell,
    until,
)

CONF = """user nginx;
pid /var/run/nginx.pid;
events {}
http {
    include /etc/nginx/mime.types;
    access_log /var/log/nginx/access.log;
    server {
        listen 80;
        location /static/ { alias /static/; }
        location / { proxy_pass http://localhost:8000; add_header X-Proxy nginx; }
    }
}
"""
MOUNT = Mount("static", "/static", read_only=False)
INSTALLED = pytest.mark.skipif(nginx.program() is None, reason="no nginx on PATH: install it to see it run")


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane()


def three_containers(plane: FakeControlPlane, image: str = "proxy", port: int = 80) -> None:
    """Django's part, nginx before it, and a startup container that makes the static files."""
    plane.wanted = [
        service(
            container("web", server(), environment={"RELEASE": "django"}, ports=(8000,)),
            container(
                "nginx", None, image=image, ports=(port,), mounts=(MOUNT,), depends_on={"startup": "SUCCESS"}
            ),
            container("startup", shell("echo 'a {}' > /static/a.css"), mounts=(MOUNT,), essential=False),
            load_balancing=balanced("nginx", port),
            volumes=("static",),
        )
    ]
    plane.groups = grouped()


def proxy_image(folder: Path) -> dict[str, Image]:
    root = folder / "proxy image"
    (root / "etc/nginx").mkdir(parents=True)
    (root / "etc/nginx/nginx.conf").write_text(CONF)
    return {
        "proxy": make_image(
            root,
            env={"NGINX_VERSION": "1.27"},
            workdir="/",
            entrypoint=NGINX_ENTRYPOINT,
            cmd=NGINX_CMD,
            paths=("/etc/nginx/nginx.conf",),
        )
    }


def get(agent: TaskAgent, plane: FakeControlPlane, path: str, port: int = 80) -> tuple[int, str, str]:
    (task,) = plane.live()
    connection = http.client.HTTPConnection("localhost", port)
    connection.sock = agent.connect(task.address, port, 5)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers.get("X-Proxy", "")
    connection.close()
    return found


@INSTALLED
def test_nginx_runs_with_the_configuration_of_its_image(plane: FakeControlPlane, tmp_path: Path) -> None:
    three_containers(plane)
    with running_agent(plane, tmp_path, "namespace", images=proxy_image(tmp_path)) as agent:
        until(lambda: completed(agent))
        assert get(agent, plane, "/static/a.css") == (200, "a {}\n", "")
        assert get(agent, plane, "/") == (200, "django", "nginx")
        until(lambda: any("GET /static/a.css" in line for line in plane.lines("nginx")))
        (task,) = plane.live()
        assert [each.reason for each in task.containers] == [None, None, None]


@INSTALLED
def test_the_public_image_greets_as_it_comes_and_takes_templates(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    template = "server { listen ${PORT}; location / { return 200 $host; } }"
    made = shell(
        f"mkdir -p etc/nginx/templates && echo '{template}' > etc/nginx/templates/a.conf.template && "
        "exec nginx -g 'daemon off;'"
    )
    proxy = container(
        "nginx", made, image="public.ecr.aws/nginx/nginx:1.27", ports=(80,), environment={"PORT": "80"}
    )
    plane.wanted = [service(proxy, load_balancing=balanced("nginx", 80))]
    plane.groups = grouped()
    with running_agent(plane, tmp_path, "namespace") as agent:
        until(lambda: completed(agent))
        assert get(agent, plane, "/") == (200, "localhost", "")


@pytest.mark.parametrize("way", ["namespace", "loopback"])
@pytest.mark.parametrize("image", ["proxy", "nginxinc/nginx-unprivileged:1.27@sha256:0"])
def test_where_there_is_no_nginx_a_relay_stands_in_and_says_so(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way, image: str
) -> None:
    monkeypatch.setattr(nginx, "program", lambda: None)
    three_containers(plane, image, port=8080)
    with running_agent(plane, tmp_path, way, images=proxy_image(tmp_path)) as agent:
        until(lambda: completed(agent))
        assert get(agent, plane, "/static/a.css", 8080) == (200, "django", "")
        (task,) = plane.live()
        (reason,) = [each.reason for each in task.containers if each.name == "nginx"]
        assert reason
        assert "a relay stands in for it and sends everything to port 8000" in reason
        until(lambda: plane.lines("nginx"))
    assert plane.lines("nginx") == [f"nginx: {reason}"]


def test_an_nginx_with_nothing_behind_it_says_why_it_does_not_run(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx, "program", lambda: None)
    plane.wanted = [service(container("nginx", None, image="nginx:1.27", ports=(80,)))]
    with running_agent(plane, tmp_path):
        over(plane)
    assert set(plane.lines("nginx")) == {  # the service's next task may have run too
        "There is no nginx on PATH, and no container with a port to which a relay could send requests."
    }


def test_paths_of_the_image_and_who_runs_it_are_told_anew() -> None:
    text = (
        "user nginx;\npid /run/nginx.pid;\nlocation /static/ { root /static; }\nalias /static/img/;\n"
        "proxy_pass http://localhost:8000/static/;\nroot /staticfiles;\n"
    )
    assert nginx_start.rewrite(text, "/r", ["/static", "/etc/nginx"]) == (
        "\n\nlocation /static/ { root /r/static; }\nalias /r/static/img/;\n"
        "proxy_pass http://localhost:8000/static/;\nroot /staticfiles;\n"
    )
