"""Write the status page for people without a terminal."""
