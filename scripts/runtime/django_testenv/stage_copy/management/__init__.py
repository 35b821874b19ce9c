"""Hold the package that Django looks for commands in."""
