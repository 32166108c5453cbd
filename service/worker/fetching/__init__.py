"""Fetching recordings that their source announced by URL."""
