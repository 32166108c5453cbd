"""What listens to sources: authenticates, keeps, answers; parses nothing."""
