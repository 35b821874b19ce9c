from __future__ import annotations

import pytest

from copilot_testenv.check import access
from copilot_testenv.check import project as projects
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer
from tests.check.rendered import accepted, marked, places, rendered

IMAGE = "image: {build: Dockerfile, port: 8000}\n"
PROJECT = f"{IMAGE}command: gunicorn shop.wsgi\n"
MAILPIT = "{image: 'axllent/mailpit:v1.21'}"

OPEN = {
    "nothing is said": "http: {path: /}  # HERE\n",
    "a range of everybody": """
http: {path: /}
environments:
  test:
    http:
      allowed_source_ips: [0.0.0.0/0]  # HERE
""",
    "two halves of everybody": """
http:
  path: /
  allowed_source_ips: [10.1.0.0/16, 0.0.0.0/1, 128.0.0.0/1]  # HERE
""",
    "an empty password": "http: {path: /}  # HERE\nvariables: {BASIC_AUTH: ''}\n",
    "only one of two rules is limited": """
http:
  path: /
  allowed_source_ips: [192.0.2.0/24]  # HERE
  additional_rules: [{path: /admin}]
""",
    "a network load balancer beside": """
http:
  path: /
  allowed_source_ips: [192.0.2.0/24]  # HERE
nlb: {port: 443/tcp}
""",
    "a password in the startup sidecar alone": """
http: {path: /}  # HERE
sidecars:
  startup:
    image: {build: Dockerfile}
    essential: false
    command: python manage.py migrate
    variables: {BASIC_AUTH: 'a:b'}
""",
    "a password in a proxy that knows nothing of it": """
http: {path: /, target_container: proxy}  # HERE
sidecars: {proxy: {image: 'nginx:1.27', port: 80, variables: {BASIC_AUTH: 'a:b'}}}
""",
}
CLOSED = {
    "source addresses": "http: {path: /, allowed_source_ips: ['192.0.2.0/24', '2001:db8::/32']}\n",
    "a private range": "http: {path: /, allowed_source_ips: [10.0.0.0/8]}\n",
    "a password in a secret": "http: {path: /}\nsecrets: {BASIC_AUTH: /copilot/test/BASIC_AUTH}\n",
    "a password in a sidecar in front that runs the project": """
http: {path: /, target_container: front}
sidecars:
  front: {image: 'shop:1', port: 80, command: 'gunicorn shop.wsgi', variables: {BASIC_AUTH: 'a:b'}}
""",
}


@pytest.mark.parametrize("manifest", OPEN.values(), ids=OPEN)
def test_a_test_environment_that_everybody_reaches_is_told(
    renderer: Renderer, settings: Settings, manifest: str
) -> None:
    found = list(access.reached(accepted(rendered(renderer, settings, IMAGE + manifest))))
    assert places(found) == marked(settings.root)
    assert {finding.severity for finding in found} == {"warning"}


@pytest.mark.parametrize("manifest", CLOSED.values(), ids=CLOSED)
def test_a_test_environment_that_is_closed_is_not_told(
    renderer: Renderer, settings: Settings, manifest: str
) -> None:
    assert list(access.reached(accepted(rendered(renderer, settings, IMAGE + manifest)))) == []


def test_other_environments_may_be_public(renderer: Renderer, settings: Settings) -> None:
    project = rendered(renderer, settings, IMAGE + "http: {path: /}\n", environments=("stage", "production"))
    assert list(access.reached(accepted(project))) == []
    assert list(access.mail(project)) == []


def test_addresses_that_the_environment_lets_in_are_enough(renderer: Renderer, settings: Settings) -> None:
    files = {
        "copilot/environments/test/manifest.yml": "name: test\ntype: Environment\n"
        "http: {public: {ingress: {source_ips: [192.0.2.0/24]}}}\n"
    }
    project = accepted(rendered(renderer, settings, IMAGE + "http: {path: /}\n", files))
    assert list(access.reached(project)) == []


HTTPS = """
Resources:
  HTTPListenerRule:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      Actions: [{Type: redirect, RedirectConfig: {Protocol: HTTPS}}]
      Conditions: [{Field: host-header, HostHeaderConfig: {Values: [a.example.com]}}]
      ListenerArn: !GetAtt EnvControllerAction.HTTPListenerArn
  HTTPSListenerRule:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      Actions: [{Type: forward, TargetGroupArn: !Ref TargetGroup}]
      Conditions: [{Field: source-ip, SourceIpConfig: {Values: [192.0.2.0/24]}}]
      ListenerArn: !GetAtt EnvControllerAction.HTTPSListenerArn
"""


def test_a_redirect_from_http_is_no_way_in(settings: Settings) -> None:
    project = projects.read(settings)
    project.rendered["web", "test"] = Template(HTTPS, {})
    assert list(access.reached(project)) == []
    project.rendered["web", "test"] = Template(HTTPS.replace("redirect", "forward"), {})
    assert len(list(access.reached(project))) == 1


@pytest.mark.parametrize(
    "variables",
    [
        "variables: {EMAIL_HOST: smtp.example.com}",
        "variables:\n      EMAIL_BACKEND: django.core.mail.backends.smtp.EmailBackend  # HERE",
        f"variables: {{EMAIL_HOST: smtp.sendgrid.net}}  # HERE\n    sidecars: {{mailpit: {MAILPIT}}}",
        f"secrets: {{EMAIL_HOST: /test/HOST}}\n    sidecars: {{mailpit: {MAILPIT}}}",
    ],
)
def test_mail_that_may_leave_is_told(renderer: Renderer, settings: Settings, variables: str) -> None:
    of_block = "  # HERE" if variables.startswith("secrets") else ""
    mark = "" if of_block or "HERE" in variables else "  # HERE"
    manifest = f"http: {{path: /}}\nenvironments:\n  test:{of_block}\n    {variables}{mark}\n"
    found = list(access.mail(accepted(rendered(renderer, settings, PROJECT + manifest))))
    assert places(found) == marked(settings.root)
    assert {finding.severity for finding in found} == {"warning"}


@pytest.mark.parametrize(
    "manifest",
    [
        "env_file: web.env",
        "command: nginx\nvariables: {EMAIL_HOST: smtp.example.com}",
        "variables: {EMAIL_BACKEND: django.core.mail.backends.console.EmailBackend}",
        "variables: {EMAIL_BACKEND: django.core.mail.backends.dummy.EmailBackend}",
        "variables: {EMAIL_HOST: localhost}",
        f"environments: {{test: {{sidecars: {{mailpit: {MAILPIT}}}}}}}",
    ],
)
def test_mail_that_stays_is_not_told(renderer: Renderer, settings: Settings, manifest: str) -> None:
    files = {"web.env": "EMAIL_BACKEND=django.core.mail.backends.console.EmailBackend\n"}
    top = IMAGE if "command: " in manifest else PROJECT
    project = accepted(rendered(renderer, settings, f"{top}http: {{path: /}}\n{manifest}\n", files))
    assert list(access.mail(project)) == []


APP_RUNNER = "name: web\ntype: Request-Driven Web Service\ncpu: 1024\nmemory: 2048\n"


def test_app_runner_is_public_unless_it_is_private_or_asks(
    renderer: Renderer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.check.rendered.TOP", APP_RUNNER)
    image = "image: {location: 'public.ecr.aws/x/y:1', port: 80}\n"
    # The addresses that the load balancer takes are nothing to it.
    path = "copilot/environments/test/manifest.yml"
    limited = "name: test\ntype: Environment\nhttp: {public: {ingress: {source_ips: [192.0.2.0/24]}}}\n"
    public = "http: {healthcheck: /}  # HERE\n"
    found = list(access.reached(accepted(rendered(renderer, settings, image + public, {path: limited}))))
    assert places(found) == marked(settings.root)
    assert "`http.private: true`" in found[0].instead
    for closed in (
        "http: {private: true}\n",
        "variables: {BASIC_AUTH: 'a:b'}\n",
        "secrets: {BASIC_AUTH: /test/B}\n",
    ):
        assert list(access.reached(accepted(rendered(renderer, settings, image + closed)))) == []


@pytest.mark.parametrize("kind", ["Backend Service", "Worker Service"])
def test_a_service_inside_the_network_is_not_public(
    renderer: Renderer, settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tests.check.rendered.TOP", f"name: web\ntype: {kind}\n")
    image = IMAGE if kind == "Backend Service" else "image: {build: Dockerfile}\n"
    assert list(access.reached(accepted(rendered(renderer, settings, image)))) == []
