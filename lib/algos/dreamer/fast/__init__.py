"""The same results as the readable forms, from fewer and larger operations."""
