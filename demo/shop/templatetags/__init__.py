"""The folder in which Django finds template tags."""
