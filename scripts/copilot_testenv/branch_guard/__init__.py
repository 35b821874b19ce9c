"""Decide what a branch may change, before Copilot or any program of the branch is started."""
