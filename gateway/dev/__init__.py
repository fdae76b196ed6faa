"""The development stack: everything the gateway needs, started and stopped on one machine without any set-up."""
