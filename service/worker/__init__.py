"""What runs beside requests: interpretation, media, checkpoints, jobs."""
