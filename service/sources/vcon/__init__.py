"""vCon, the IETF's container of conversations (draft-ietf-vcon-vcon-core): who signed it, and what it tells."""
