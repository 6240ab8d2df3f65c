"""Where versions come from: each source watches a storage and emits what is aspired."""
