"""What the product does with contacts, one module per use case."""
