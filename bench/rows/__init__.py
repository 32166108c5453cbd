"""The rows of the table, in its order: each a function of sizes and an empty directory."""
