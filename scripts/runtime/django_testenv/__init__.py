"""The package that a Django project's image needs in a test environment."""
