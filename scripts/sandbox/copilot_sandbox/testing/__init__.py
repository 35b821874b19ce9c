"""Faults on demand, and IAM that says no, for tests. A plain start imports nothing of it."""
