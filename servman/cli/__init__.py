"""The `servman` command."""
