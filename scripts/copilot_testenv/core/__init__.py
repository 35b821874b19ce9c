"""Hold what every other package uses: errors, settings, processes, files, Git; import no other package."""
