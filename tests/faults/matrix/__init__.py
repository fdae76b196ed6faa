"""What is done to the gateway while calls flow, and what it must keep while that happens."""
