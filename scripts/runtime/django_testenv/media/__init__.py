"""Media in a test environment: staging's files are read, and only the branch's own place is changed."""
