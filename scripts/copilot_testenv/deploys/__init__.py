"""Implement the tasks that change or show deployments, one module for each."""
