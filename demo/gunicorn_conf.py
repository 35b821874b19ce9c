"""Gunicorn's settings for a small Fargate task: https://docs.gunicorn.org/en/stable/settings.html."""

from __future__ import annotations

import os
from pathlib import Path

# Two processes with threads fit into 512 MB; a request mostly waits for the database.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = 4
preload_app = True  # a wrong setting ends the container at once with one line, and the processes share memory

timeout = 60  # seconds; equal to the load balancer's idle timeout
graceful_timeout = 20  # seconds; less than ECS's stopTimeout of 30, after which ECS kills the task
keepalive = 75  # seconds; more than the load balancer's idle timeout, or it uses closed connections (502)

# Gunicorn's heartbeat is a file; on a disk, a slow write looks like a hung worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  memory, as gunicorn's FAQ advises

control_socket_disable = True  # nobody uses it, and its home directory does not exist in the image

accesslog = "-"
errorlog = "-"
# X-Forwarded-For has the visitor's address; the peer is always the load balancer.
access_log_format = '%({x-forwarded-for}i)s "%(r)s" %(s)s %(b)s %(M)sms'
