"""What tests ask of the sandbox: faults, and IAM that says no. A plain start imports nothing of it."""
