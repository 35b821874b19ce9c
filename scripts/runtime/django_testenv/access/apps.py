"""Tell Django about this app: add "django_testenv.access" to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig

from django_testenv.access import access


class TestAccessConfig(AppConfig):
    name = "django_testenv.access"
    label = "test_access"
    verbose_name = "Access to test environments"

    def ready(self) -> None:
        """Raise ImproperlyConfigured in a test environment that would be open, or send mail.

        Not a system check: only manage.py ends on one, while the mail is sent by gunicorn and Celery.
        """
        access.require_closed()
