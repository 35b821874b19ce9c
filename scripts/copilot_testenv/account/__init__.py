"""Look at the account before a deploy: `check --account`. Nothing here changes anything in AWS."""
