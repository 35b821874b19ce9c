"""Hold what every other room uses: errors, settings, processes, files, Git; it imports no other room."""
