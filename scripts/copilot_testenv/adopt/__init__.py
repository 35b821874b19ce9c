"""Brings these tasks into a Django repository that has Copilot manifests: `invoke adopt --into PATH`."""
