"""Keep a test environment to those it is for: no search engine, no stranger, no mail. A Django app."""
