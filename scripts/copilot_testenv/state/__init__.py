"""Store data that several runs share: the lease of a slot, and the registry of deployments."""
