"""The frame around every handler: who asks, from where, in what form, and how errors are answered."""
