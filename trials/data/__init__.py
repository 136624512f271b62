"""Data: loading, order, splits."""
