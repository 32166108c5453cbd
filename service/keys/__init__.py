"""Key providers and epochs: the only place that reads key material."""
