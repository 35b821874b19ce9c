"""Carry out the tasks that change or show deployments, a module for each."""
