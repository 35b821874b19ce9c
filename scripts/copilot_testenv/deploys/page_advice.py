"""Say what is wrong with the page of a deployment that is healthy, and what to set, and where."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from copilot_testenv.deploys.container_log import cause, last_lines, once, quoted

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Task
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deploys.probe import Page
    from copilot_testenv.session import Session, Target

_LOG_SECONDS = {"sandbox": 0.5, "aws": 6.0}  # until a line that was just written can be read
# Django's own sentence. Source: django/http/request.py, HttpRequest.get_host
_DISALLOWED = re.compile(r"Invalid HTTP_HOST header: '([^']*)'")
_UNSURE = (
    "Django answers so for a host that ALLOWED_HOSTS lacks (DisallowedHost), but its log does not say it: if "
    "that is the reason, add the host"
)
_FIXED_LIST = (
    'Where they fix the list, `apply(globals(), from_environment=["ALLOWED_HOSTS"])` takes it from the '
    "variable ALLOWED_HOSTS."
)
_NO_ANSWER = "What stands between the load balancer and Django (nginx, a worker) gets no answer from it."
_ADVICE = {
    "gateway": _NO_ANSWER,
    "unreachable": _NO_ANSWER,
    "https_redirect": (
        "Let Django not redirect there: SECURE_SSL_REDIRECT = False in the settings of this environment, as "
        "the block of `invoke adopt` sets it. If Django does not, a middleware or nginx does."
    ),
    "redirect_loop": "A view, a middleware or nginx leads a browser that is not logged in round in a circle.",
}
# The sentences of Django's storage with a manifest, django-webpack-loader, django-vite, django-compressor.
_NO_STATIC_FILE = re.compile(
    r"Missing staticfiles manifest entry|webpack has generated|in Vite manifest|Vite's asset manifest"
    r"|missing from offline manifest"
)
_STATIC_ADVICE = (
    "The page names a static file that was not collected or not built. Collect them (`manage.py "
    "collectstatic --noinput`) in the Dockerfile, after the step that builds them, or in the command of the "
    "sidecar which runs the migrations."
)
_NOT_CARRIED_OUT = (
    " Without an engine the sandbox runs `RUN … collectstatic` when a container starts; `invoke logs` shows "
    "whether it failed. It does not carry out steps that build files; the lines after `building the image` "
    "name them. With Podman, as root, it does: SANDBOX_CONTAINERS=engine."
)
_BEHIND_TLS = (
    'Behind a load balancer with https Django needs SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", '
    '"https"), and nginx must pass that header on.'
)


def wrong(session: Session, target: Target, page: Page, tasks: list[Task]) -> str:
    """Return what is wrong with the page, what to set, and the last lines of the container that answers."""
    settings = session.settings
    time.sleep(_LOG_SECONDS[settings.target])
    name, lines = _last_lines(settings, target, tasks)
    text = f"{page.url} cannot be used: {page.reason}. {_advice(settings, page, lines)}"
    if page.fault == "https_redirect":  # no log says more
        return text
    return "\n".join([text, f"The last lines of the container `{name}`:", *quoted(once(lines))])


def _advice(settings: Settings, page: Page, lines: list[str]) -> str:
    if page.fault == "bad_request":
        manifest = f"`environments.{settings.test_env}.variables` in copilot/{settings.base}/manifest.yml"
        hosts = [found[1] for line in lines if (found := _DISALLOWED.search(line))]
        if not hosts:
            return f"{_UNSURE}, by a variable under {manifest}."
        return (
            f"Django does not know the host {re.sub(r':[0-9]+$', '', hosts[-1])} (DisallowedHost): add it to "
            f"ALLOWED_HOSTS, by the variable that your settings read, under {manifest}. {_FIXED_LIST}"
        )
    if page.fault == "redirect_loop" and page.url.startswith("https:"):
        return _BEHIND_TLS
    if advice := _ADVICE.get(page.fault or ""):
        return advice
    error = cause(lines)
    if not error:
        return "The project itself fails on this page."
    advice = ""
    if _NO_STATIC_FILE.search(error):
        advice = f" {_STATIC_ADVICE}" + (_NOT_CARRIED_OUT if settings.target == "sandbox" else "")
    return f"The project itself fails on this page: {error}" + (f".{advice}" if advice else "")


def _last_lines(settings: Settings, target: Target, tasks: list[Task]) -> tuple[str, list[str]]:
    """Return a container that answers and its last lines: the service's own, else one that has lines."""
    for task in reversed(tasks):
        running = [each.name for each in task.containers if each.status == "RUNNING"]
        for name in sorted(running, key=lambda name: name != settings.service):
            if lines := last_lines(target.aws, settings, name, task):
                return name, lines
    return settings.service, []
