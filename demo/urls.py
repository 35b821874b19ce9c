"""The URLs of the demo project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from demo.shop import views

urlpatterns = [
    path("", views.front_page, name="front-page"),
    path("status.json", views.status, name="status"),
    path("healthz", views.healthz, name="healthz"),
    path("admin/", admin.site.urls),
]
