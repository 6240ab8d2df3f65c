"""servman: decides which versions of which models are in memory."""
