"""Keep what outlives a run: the lease of a slot, and the registry of deployments."""
