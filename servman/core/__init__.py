"""The assembly: builds every stage from a configuration and connects them."""
