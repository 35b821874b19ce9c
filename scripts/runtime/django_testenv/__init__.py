"""Hold what goes into a Django project's image in a test environment."""
