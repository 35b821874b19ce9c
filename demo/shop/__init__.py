"""The shop: its models, admin and pages."""
