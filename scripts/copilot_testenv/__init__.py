"""Deploy any Git branch of a Django project on AWS Copilot to a throw-away test environment."""

__version__ = "0.2.0"
