"""Benchmarks: ratios within one run, printed as a table and as JSON; nothing is asserted."""
