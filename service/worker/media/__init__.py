"""What a recording is, found out by a child process that is not trusted with anything else."""
