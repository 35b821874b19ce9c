"""What of scripts/ goes into the project's image: one line here for each, and it stands everywhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shipped:
    """A file or folder of the image, and what it is to Django."""

    path: str
    app: str = ""  # in INSTALLED_APPS
    middleware: str = ""  # in MIDDLEWARE, before the project's own, in this order


HEALTH_PATH = "/healthz"  # what scripts/healthz.py answers; a test compares, for that needs Django
SHIPPED = (
    Shipped("scripts/__init__.py"),
    Shipped(
        "scripts/test_access",
        app="scripts.test_access",
        middleware="scripts.test_access.middleware.AccessMiddleware",
    ),
    Shipped("scripts/healthz.py", middleware="scripts.healthz.Healthz"),
    Shipped("scripts/stage_copy", app="scripts.stage_copy"),
)
