"""Hold the parts of the tasks, a module for each noun; CONTRIBUTING.md says where things are."""
