"""Play the application load balancers: route HTTP on loopback ports to the tasks that are healthy."""
