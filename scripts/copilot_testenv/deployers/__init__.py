"""The two ways to deploy, Copilot's binary and CloudFormation itself; DEPLOY_WITH chooses one of them."""
