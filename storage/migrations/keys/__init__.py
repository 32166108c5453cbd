"""Revisions of the key store."""
