"""The embedded AWS: all that `DEPLOY_TARGET=sandbox` needs. Nothing of it runs in a deploy to AWS."""
