"""Records what the event bus carries, and lets callers wait for it."""
