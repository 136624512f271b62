"""Architectures of the built-in tasks, one a file."""
