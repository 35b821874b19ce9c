"""Talk to the forges: the comment on a pull request."""
