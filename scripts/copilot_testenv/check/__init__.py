"""`invoke check`: everything that can be known of the manifests without AWS."""
