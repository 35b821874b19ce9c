"""Write the deployment's comment on a pull request of GitHub, GitLab or Bitbucket."""
