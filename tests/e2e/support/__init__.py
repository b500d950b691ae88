"""Models, deployments and inputs of the end-to-end tests."""
