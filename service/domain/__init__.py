"""The archive's own words: plain values and pure rules, without I/O."""
