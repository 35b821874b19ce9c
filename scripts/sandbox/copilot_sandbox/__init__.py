"""The embedded AWS: everything `DEPLOY_TARGET=sandbox` needs, and nothing a deploy to AWS does."""
