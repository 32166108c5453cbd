"""Bytes in, bytes out: sealing, wrapping and keyed tokens."""
