"""Injected faults and IAM's access control, for tests. A normal start imports none of it."""
