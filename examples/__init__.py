"""Programs that use the gateway, and services that it calls."""
