"""How gunicorn runs on a small Fargate task. Its settings: https://docs.gunicorn.org/en/stable/settings.html."""

from __future__ import annotations

import os
from pathlib import Path

# Two processes with threads fit into 512 MB; most of a request is waiting for the database.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = 4
preload_app = True  # a wrong setting ends the container at once, with its one line, and memory is shared

timeout = 60  # seconds; as the load balancer's idle timeout
graceful_timeout = 20  # seconds; less than ECS's stopTimeout of 30, after which it kills
keepalive = 75  # seconds; more than the load balancer's idle timeout, or it meets closed connections (502)

# Gunicorn's heartbeat is a file; on a disk, a slow write looks like a hung worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  memory, as gunicorn's FAQ advises

control_socket_disable = True  # nobody steers it, and it would lie in a home directory that does not exist

accesslog = "-"
errorlog = "-"
# X-Forwarded-For holds the visitor; the peer is always the load balancer.
access_log_format = '%({x-forwarded-for}i)s "%(r)s" %(s)s %(b)s %(M)sms'
