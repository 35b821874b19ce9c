"""Tell Django about this app: `settings.apply()` adds "django_testenv.media" to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.files.storage import default_storage
from django.db.models import FileField

from django_testenv.media.storages import overlay


class TestMediaConfig(AppConfig):
    name = "django_testenv.media"
    label = "test_media"
    verbose_name = "Media of test environments"

    def ready(self) -> None:
        """Lead the storages of the models' fields to the branch's own place.

        A field with a storage of its own does not ask the settings.
        """
        for model in apps.get_models(include_auto_created=True, include_swapped=True):
            for field in model._meta.local_fields:  # noqa: SLF001 - Django's documented API
                if isinstance(field, FileField) and field.storage is not default_storage:
                    field.storage = overlay(field.storage)
