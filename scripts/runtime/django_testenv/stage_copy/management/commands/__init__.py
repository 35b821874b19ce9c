"""Hold the commands that Django finds."""
