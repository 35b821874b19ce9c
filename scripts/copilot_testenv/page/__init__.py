"""Write the page for people without a terminal."""
