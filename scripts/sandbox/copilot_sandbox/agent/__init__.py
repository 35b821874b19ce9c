"""The task agent: plays ECS's part, running a service's containers as processes of this machine."""
