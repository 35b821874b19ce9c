"""Decide what a branch may change, before Copilot or anything of the branch is started."""
