"""Mail, read by a child process under limits."""
