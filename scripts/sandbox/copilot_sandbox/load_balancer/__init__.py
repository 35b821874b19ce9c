"""The emulated application load balancers: they route HTTP on loopback ports to the healthy tasks."""
