"""What the tasks are made of: one module per noun, see README.md under «Where things are»."""
