"""A small invented world that `taltio demo` plays in: customers, contacts and their speech."""
