"""A witness: a small program that remembers how far logs have come and cosigns only what continues it."""
