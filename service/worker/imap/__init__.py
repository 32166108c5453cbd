"""Mailboxes that are read over IMAP: what is said over it, a connection, and keeping what a mailbox holds."""
