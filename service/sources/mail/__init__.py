"""Mail: what a message says, who wrote it to whom, and which conversation it belongs to; pure."""
