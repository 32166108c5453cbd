"""Sealed bytes and plain rows; nothing here can read a contact."""
