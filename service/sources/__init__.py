"""One module per system that sends to us: a delivery in, contact events out."""
