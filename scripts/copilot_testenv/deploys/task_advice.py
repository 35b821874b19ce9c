"""Say what to do about a deploy that fails, by the words of ECS, of CloudFormation and of the log."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLATFORM = (
    "The image is built for another CPU architecture than the task's: build it for linux/amd64, or set "
    "`platform` in the manifest."
)
# The first two that fit are told, so what is more exact comes first.
_KNOWN = {
    "exec format error": f"{_PLATFORM} A script that does not start needs `#!/bin/sh` as its first line.",
    "descriptor matching platform": _PLATFORM,
    # Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
    r"ResourceInitialization.*(i/o timeout|deadline exceeded|timed out)|CannotPull.*(i/o timeout|deadline)": (
        "The task does not reach AWS's own services: its subnets need a route to the internet (a public "
        "address, or a NAT gateway), or VPC endpoints for ECR, S3, logs and secrets."
    ),
    r"ResourceInitialization.*(Throttling|Rate exceeded)": (
        "AWS limits such calls, and many tasks began at once: deploy again, and fewer branches at a time."
    ),
    r"unable to (pull|retrieve) secrets?\b(?!.*(Throttling|Rate exceeded|i/o timeout|deadline)).*"
    r"(ssm|manager|parameter)": (
        "A secret that the manifest names does not exist, or the task's role may not read it: `copilot "
        "secret init` makes it with the tags that Copilot's role asks for."
    ),
    "InsufficientFreeAddressesInSubnet": (
        "The environment's subnets have no address left: tear deployments down. `invoke check --account` "
        "shows how many are free."
    ),
    "CannotPull|pull access denied": (
        "The image cannot be pulled: look at its name and tag, and if the task reaches its registry."
    ),
    "OutOfMemory|out of memory": "Give the task more `memory` in the manifest.",
    r"CannotStart.*permission denied": (
        "The file that the container starts is not executable: `git update-index --chmod=+x FILE`, or `RUN "
        "chmod +x` in the Dockerfile."
    ),
    "executable file not found": "The container's command is not in the image, or not on its PATH.",
    "no python application found|no app loaded": (
        "uWSGI could not load the project's application: a traceback before that line says why."
    ),
    "container health checks|container's own health check": (
        "A health check's command runs in the container: what it calls (curl, for example) must be in the "
        "image. Try it there, or leave `healthcheck` out of the manifest."
    ),
    r"could not translate host name|Name or service not known|Temporary failure in name resolution": (
        "A host name of a secret or variable is not known in the environment's network."
    ),
    r"(OperationalError|connection to server).*(time(out expired|d out)|Connection refused|No route to)": (
        "The database is not reached: no route, a security group, or a wrong address. `invoke check "
        "--account` looks at the way to staging's."
    ),
    r"password authentication failed|no pg_hba.conf entry": (
        "The database refuses the user of the secret: look at its name, password and rights."
    ),
    r"codes: \[400\]": (
        "Django refuses the host of the health check: put django_testenv.access.healthz.Healthz first in "
        "MIDDLEWARE, or let ALLOWED_HOSTS have the task's address."
    ),
    r"codes: \[30[1278]\]": (
        "The health check is redirected, often to https: except its path (SECURE_REDIRECT_EXEMPT)."
    ),
    r"codes: \[40[13]\]": "The health check's path asks for a login: take one that does not.",
    r"runtime parameter of \S+ is no longer supported": (
        "`invoke check --fix` writes the patches that raise the runtimes of Copilot's functions: commit "
        "them, and deploy again."
    ),
    r"No export named \S+": (
        "An addon of the environment is not deployed there yet: `copilot env deploy` does that, in the "
        "sandbox `copilot-sandbox exec -- copilot env deploy`."
    ),
    r"codes: \[404\]": "The health check's path does not exist: set `http.healthcheck.path` in the manifest.",
}
# The sentences of gunicorn ("Listening at: http://127.0.0.1:8000"), uvicorn ("running on"), runserver
# ("development server at"), daphne ("Listening on TCP address") and uWSGI ("http bound on :8080").
_LISTENS = re.compile(
    r"(?:listening|running on|server at|bound (?:on|to))\b[^\n]*?"
    r"(?P<host>\d{1,3}(?:\.\d{1,3}){3}|localhost|\[[0-9a-f:]+\]|(?<= )):(?P<port>\d{2,5})\b",
    re.IGNORECASE,
)
# The sentences of dash ("sh: 1: nc: not found") and bash ("line 6: nc: command not found").
_NO_PROGRAM = re.compile(r": (?:line )?\d+: (?P<name>[\w.+-]+): (?:command )?not found")
# The sentences of the dynamic loader, of cffi (WeasyPrint), of GeoDjango and of python-magic.
_NO_LIBRARY = re.compile(
    r"(?P<loader>[\w.+-]+\.so[\d.]*): cannot open shared object|cannot load library '(?P<cffi>[\w./+-]+)'"
    r"|Could not find the (?P<gis>GDAL|GEOS) library|failed to find (?P<magic>libmagic)"
)
_NO_MODULE = re.compile(r"No module named '(?P<name>[\w.]+)'")
# The sentence of Django's loader of migrations.
_NO_MIGRATIONS = re.compile(r"Dependency on app with no migrations: (?P<name>\w+)")
_LOOPBACK = re.compile(r"127\.|localhost$|\[::1\]$")


def advice(reasons: Iterable[str], lines: Iterable[str], port: int = 0) -> str:
    """Return what to do about a failure, by its reasons and the container's lines; empty where unknown.

    `port` is the one that the load balancer asks, 0 where the failure is not about one.
    """
    text = "\n".join([*reasons, *lines])
    found = [cure for words, cure in _KNOWN.items() if re.search(words, text, re.IGNORECASE)]
    if program := _NO_PROGRAM.search(text):
        found.insert(
            0,
            f"The container has no program {program['name']}: install it in the Dockerfile. The sandbox "
            "without an engine carries out no apt-get: there, the program has to be on this machine.",
        )
    if library := _NO_LIBRARY.search(text):
        found.append(
            f"The container has no library {library[library.lastgroup or 0]}: install it in the Dockerfile. "
            "The sandbox without an engine carries out no apt-get: there, it has to be on this machine."
        )
    if module := _NO_MODULE.search(text):
        found.append(
            f"The image has no module {module['name']}: if it is the project's own, Git does not have its "
            "file (`git check-ignore -v FILE` says why), and only committed files are deployed; if it is a "
            "package's, the Dockerfile does not install it."
        )
    if app := _NO_MIGRATIONS.search(text):
        found.append(
            f"Git has no migrations of the app {app['name']}: commit what `manage.py makemigrations "
            f"{app['name']}` writes."
        )
    if port and (listens := _elsewhere(lines, port)):
        found.append(listens)
    return " ".join(found[:2])


def _elsewhere(lines: Iterable[str], port: int) -> str:
    """Return what to do where the log says that the server listens elsewhere than the load balancer asks."""
    found = [match for line in lines if (match := _LISTENS.search(line))]
    if not found or any(int(each["port"]) == port and not _LOOPBACK.match(each["host"]) for each in found):
        return ""
    last = found[-1]
    if int(last["port"]) == port:
        return (
            f"The server listens on {last['host']}:{port}, where only its own task reaches it: let it listen "
            f"on 0.0.0.0:{port}."
        )
    return (
        f"By the log the server listens on port {last['port']}, and the load balancer asks port {port}: make "
        "`image.port` of the manifest (or `port` of the `target_container`) and the server's port the same."
    )
