"""A Django app that keeps search engines and strangers out of a test environment, and mail in."""
