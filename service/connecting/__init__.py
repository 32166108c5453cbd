"""Connecting sources: adding them, seeing what comes, mending what went wrong, going live."""
