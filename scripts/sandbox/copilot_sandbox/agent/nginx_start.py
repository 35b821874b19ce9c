"""The program `nginx` in a container: runs this machine's nginx with the image's configuration, or a relay.

Its arguments are a JSON document of `nginx.provide`, then those of `nginx`. Each path of the image in the
configuration becomes a path of the container's folder. User, pid and temporary files are set anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

BLOCK = 64 * 1024
SYSTEM = Path("/etc/nginx")
SHARED = ("mime.types", "fastcgi_params", "scgi_params", "uwsgi_params")  # files that nginx's image also has
FILES = re.compile(
    r"(?:^|(?<=[\s{;]))(?:root|alias|include|access_log|error_log|load_module|\w+_path|\w+_file|ssl_\w+)\s[^;]*;"
)
NGINX_CONF = """events {}
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log combined;
    sendfile on;
    include /etc/nginx/conf.d/*.conf;
}
"""
DEFAULT_CONF = """server {
    listen 80;
    location / { root /usr/share/nginx/html; }
}
"""


def rewrite(text: str, root: str, paths: list[str]) -> str:
    """Return the configuration with the image's paths moved below `root`, and without user and pid.

    Only directives that name files are changed: `location /static/` is an address, not a folder.
    """
    text = re.sub(r"(?m)^([ \t]*)(user|pid)[ \t][^;\n]*;", r"\1", text)
    if not has_ipv6():
        text = re.sub(r"(?m)^([ \t]*)listen[ \t]+\[::\][^;\n]*;", r"\1", text)
    longest_first = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    path = re.compile(rf"(?<![\w./@-])({longest_first})(?![\w.-])")
    return FILES.sub(lambda directive: path.sub(lambda match: f"{root}{match[1]}", directive[0]), text)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def prepare(what: dict[str, Any]) -> Path:
    """Complete the container's /etc/nginx and adapt it to the container. Return nginx.conf."""
    root = Path(what["root"])
    conf = root / "etc/nginx"
    (conf / "conf.d").mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if not (conf / name).exists() and (SYSTEM / name).exists():
            shutil.copy(SYSTEM / name, conf / name)
    fill_templates(conf)
    main = conf / "nginx.conf"
    if not main.exists():
        main.write_text(NGINX_CONF)
        if not list((conf / "conf.d").glob("*.conf")):
            (conf / "conf.d/default.conf").write_text(DEFAULT_CONF)
    for folder in ("var/log/nginx", "var/cache/nginx", "run", "usr/share/nginx/html"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, stream in (("access.log", "/dev/stdout"), ("error.log", "/dev/stderr")):
        log = root / "var/log/nginx" / name
        if not log.is_symlink() and not log.exists():
            log.symlink_to(stream)
    for file in [main, *conf.rglob("*.conf")]:
        if file.is_file() and not file.is_symlink():
            file.write_text(rewrite(file.read_text("utf-8"), str(root), what["paths"]), "utf-8")
    return main


def fill_templates(conf: Path) -> None:
    """Insert environment variables into the templates, as the image's entry point does."""
    for template in sorted((conf / "templates").glob("*.template")):
        text = re.sub(
            r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), template.read_text("utf-8")
        )
        (conf / "conf.d" / template.stem).write_text(text, "utf-8")


def runtime_directives(nginx: str, root: str, main: str, text: str) -> str:
    """Return directives that put nginx's temporary files and its log into the container's folder."""
    built = subprocess.run([nginx, "-V"], check=False, capture_output=True, text=True).stderr
    kinds = re.findall(r"--http-([a-z-]+?)-temp-path=", built)
    names = [f"{kind.replace('-', '_')}_temp_path" for kind in kinds]
    directives = [f"{name} {root}/var/cache/nginx/{name};" for name in names if name not in text]
    # Without access_log, nginx would log to the path it was built with.
    return " ".join(directives if "access_log" in main else [*directives, "access_log /dev/stdout;"])


def run(what: dict[str, Any], words: list[str]) -> NoReturn:
    """Replace this process with this machine's nginx."""
    nginx, root = str(what["nginx"]), str(what["root"])
    main = prepare(what)
    text = main.read_text("utf-8")
    texts = "\n".join(file.read_text("utf-8") for file in main.parent.rglob("*.conf") if file.is_file())
    if "/var/cache/nginx/client_body_temp_path" not in text:
        runtime = runtime_directives(nginx, root, text, texts)
        main.write_text(re.sub(r"(?m)^([ \t]*http[ \t]*\{)", rf"\1 {runtime}", text, count=1), "utf-8")
    directives = [f"pid {root}/run/nginx.pid;"]
    if os.geteuid() == 0:
        directives.append("user root;")  # no other user may enter the sandbox's folder
    others = []
    while words:
        word = words.pop(0)
        if word == "-g" and words:
            directives.append(words.pop(0).rstrip().rstrip(";") + ";")
        elif word == "-c" and words:
            words.pop(0)
        else:
            others.append(word)
    argv = [nginx, "-e", "/dev/stderr", "-p", root, "-c", str(main), "-g", " ".join(directives), *others]
    os.execv(nginx, argv)  # noqa: S606 - this process becomes the server


async def relay(host: str, ports: list[int], upstream: int) -> None:
    """Forward each connection to one of the ports to the upstream, byte for byte."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_streams = await asyncio.open_connection(host or "127.0.0.1", upstream)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, upstream_streams[1]), pass_on(upstream_streams[0], writer))

    servers = [await asyncio.start_server(take, host or "0.0.0.0", port) for port in ports]  # noqa: S104 - in a container, all addresses are its own
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while block := await source.read(BLOCK):
            target.write(block)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


def main() -> None:
    what = json.loads(sys.argv[1])
    if what["nginx"]:
        run(what, sys.argv[2:])
    if what["upstream"] is None:
        sys.exit(
            "There is no nginx on PATH, and no container with a port to which a relay could send requests."
        )
    sys.stderr.write(f"nginx: {what['note']}\n")
    asyncio.run(relay(what["host"], what["ports"], what["upstream"]))


if __name__ == "__main__":
    main()
