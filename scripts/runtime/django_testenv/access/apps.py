"""Tell Django about this app: add "django_testenv.access" to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig

from django_testenv.access import access, errors


class TestAccessConfig(AppConfig):
    name = "django_testenv.access"
    label = "test_access"
    verbose_name = "Access to test environments"

    def ready(self) -> None:
        """Raise ImproperlyConfigured in a test environment that would be open, or send mail.

        This is not a system check: only manage.py ends on such a check, but gunicorn and Celery send mail.
        """
        access.require_closed()
        if access.read() is not None:
            errors.write_to_log()
