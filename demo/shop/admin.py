"""The shop in Django's admin. Rows of large tables are chosen by id instead of from a list."""

from __future__ import annotations

from django.contrib import admin

from .models import Customer, Event, Order, OrderLine, Product


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ("name", "email", "country", "joined_at")
    list_filter = ("country",)
    search_fields = ("name", "email")


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "sku", "price", "stock")
    search_fields = ("name", "sku")


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    raw_id_fields = ("product",)
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "customer", "status", "placed_at")
    list_filter = ("status",)
    list_select_related = ("customer",)
    raw_id_fields = ("customer",)
    inlines = (OrderLineInline,)


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):
    list_display = ("kind", "customer", "at")
    list_filter = ("kind",)
    list_select_related = ("customer",)
    raw_id_fields = ("customer",)
    show_full_result_count = False
