"""Loads and unloads what is aspired, and hands out handles."""
