"""The shop's tables, with relations, constraints and indexes that test a copy."""

# ruff: noqa: D106  a Meta only holds options

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower


class Customer(models.Model):
    name = models.CharField(max_length=120)
    email = models.EmailField()
    country = models.CharField(max_length=2)
    joined_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(Lower("email"), name="customer_email_unique"),)
        indexes = (models.Index(fields=["country", "joined_at"], name="customer_country"),)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    sku = models.CharField("SKU", max_length=20, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=9, decimal_places=2)
    stock = models.IntegerField(default=0)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(price__gt=0), name="product_price_positive"),
            models.CheckConstraint(condition=models.Q(stock__gte=0), name="product_stock_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.sku})"


class Order(models.Model):
    class Status(models.TextChoices):
        NEW = "new"
        PAID = "paid"
        SHIPPED = "shipped"
        CANCELLED = "cancelled"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders")
    products = models.ManyToManyField(Product, through="OrderLine", related_name="orders")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    placed_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["new", "paid", "shipped", "cancelled"]),
                name="order_status_known",
            ),
        )
        indexes = (
            models.Index(fields=["placed_at"], name="order_placed_at"),
            models.Index(fields=["placed_at"], name="order_open", condition=models.Q(status="new")),
        )

    def __str__(self) -> str:
        return f"Order {self.pk}"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="lines")
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=9, decimal_places=2)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["order", "product"], name="order_line_product_once"),
            models.CheckConstraint(condition=models.Q(quantity__gte=1), name="order_line_quantity_positive"),
        )

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product}"


class Event(models.Model):
    """An action of a visitor. Like a log, this is by far the largest table."""

    customer = models.ForeignKey(
        Customer, on_delete=models.SET_NULL, null=True, blank=True, related_name="events"
    )
    kind = models.CharField(max_length=20)
    at = models.DateTimeField()
    payload = models.JSONField(default=dict)

    class Meta:
        indexes = (models.Index(fields=["kind", "at"], name="event_kind_at"),)

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M}"
