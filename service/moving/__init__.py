"""Moving an archive of one machine to a database server, an object store, or both."""
