"""Tells Django about this app: add "scripts.stage_copy" to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig


class StageCopyConfig(AppConfig):
    name = "scripts.stage_copy"
    label = "stage_copy"
    verbose_name = "Copy of staging's database"
