"""The sandbox's image builder: the program `docker` on Copilot's PATH."""
