"""Tell Django about this app: add "django_testenv.stage_copy" to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig


class StageCopyConfig(AppConfig):
    name = "django_testenv.stage_copy"
    label = "stage_copy"
    verbose_name = "Copy of staging's database"
