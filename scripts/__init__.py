"""What the tasks are made of: one module per noun, see CONTRIBUTING.md under "Where things are"."""
