"""Taltio: an archive of customer contacts that can be found, heard and proven."""
