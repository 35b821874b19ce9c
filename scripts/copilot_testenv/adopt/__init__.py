"""Add these tasks to a Django repository that has Copilot manifests: `invoke adopt --into PATH`."""
