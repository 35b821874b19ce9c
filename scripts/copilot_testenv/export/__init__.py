"""`invoke package`: what Copilot would deploy, as CloudFormation that needs no Copilot."""
