"""The ECS agent: runs the tasks of the control plane's services, with a container engine or as processes.

agent.py: the agent's thread; compares the wanted services with the running tasks, several times a second.
→ scheduler.py: decides for one service which tasks start and stop, and rates its deployments.
→ service_task.py: one task in the agent's process: its target groups, draining and reports.
→ preparation.py: what a task's process has to run: secrets, images, volumes, and for each container
  (container.py) its command, variables and paths.
→ runner.py: starts and ends the task's own process, and talks to it over a socket (wire.py).
→ task.py: the main program of that process; it runs the task's containers in ECS's order.
→ task_container.py: starts, checks and ends one container; task_log.py sends its output.
→ engine_container.py: the same for a container of an engine; engine.py calls the engine.
"""
