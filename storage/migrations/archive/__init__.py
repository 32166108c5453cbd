"""Revisions of the archive."""
