"""The sandbox's image builder: what Copilot finds on its PATH as `docker`."""
