"""The ports on PostgreSQL. Imported only where the configuration names it."""
