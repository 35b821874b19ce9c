"""Write Django's errors to the container's log, so that `deploy-test` and `logs` can show them."""

from __future__ import annotations

import logging

from django.conf import settings


def write_to_log() -> None:
    """Add a handler for errors to Django's logger, unless a handler writes them already.

    With DEBUG off, Django's own configuration only mails errors: a traceback, or the host that is not in
    ALLOWED_HOSTS, is in no log. Source: django/utils/log.py, DEFAULT_LOGGING
    """
    logger = logging.getLogger("django")
    if not _is_written(logger):
        handler = logging.StreamHandler()
        handler.setLevel(logging.ERROR)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


def _is_written(logger: logging.Logger) -> bool:
    """Return True if the logger, or one that it passes its records on to, writes errors to a stream."""
    at: logging.Logger | None = logger
    while at:
        if any(map(_writes, at.handlers)):
            return True
        at = at.parent if at.propagate else None
    return False


def _writes(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    if handler.level > logging.ERROR:
        return False
    waits_for_debug = any(type(each).__name__ == "RequireDebugTrue" for each in handler.filters)
    return not waits_for_debug or bool(settings.DEBUG)
