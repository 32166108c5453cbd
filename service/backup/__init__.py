"""Backups: made beside the running service, verified, brought up for a drill, restored."""
