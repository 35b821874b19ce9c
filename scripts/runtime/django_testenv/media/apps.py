"""Tell Django about this app: `settings.apply()` adds "django_testenv.media" to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.files import storage
from django.db.models import FileField

from django_testenv.media import places
from django_testenv.media.storages import overlay


class TestMediaConfig(AppConfig):
    name = "django_testenv.media"
    label = "test_media"
    verbose_name = "Media of test environments"

    def ready(self) -> None:
        """Lead the storages of the models' fields to the branch's own place, and make those of the settings.

        A field with a storage of its own does not ask the settings. What is wrong with one ends the start:
        raise ImproperlyConfigured.
        """
        if places.read() is None:
            return
        for alias in set(getattr(settings, "STORAGES", {})) - {"staticfiles"}:
            storage.storages[alias]
        storage.default_storage.url  # noqa: B018 - its first use makes it
        for model in apps.get_models(include_auto_created=True, include_swapped=True):
            for field in model._meta.local_fields:  # noqa: SLF001 - Django's documented API
                if isinstance(field, FileField) and field.storage is not storage.default_storage:
                    field.storage = overlay(field.storage)
