"""`invoke package`: write the templates that Copilot would deploy, so that they need no Copilot."""
