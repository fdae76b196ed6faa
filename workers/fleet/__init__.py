"""What the workers share through Redis: who has a call, and what may be sent to a service now."""
