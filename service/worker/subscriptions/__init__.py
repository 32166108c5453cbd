"""Connections on which sources tell events as they happen, and never again."""
