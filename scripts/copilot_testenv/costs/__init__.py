"""Estimate what a deployment costs, by list prices."""
