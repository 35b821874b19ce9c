"""`invoke check`: find errors in the manifests without AWS."""
