"""Reading what a source lists of its own accord when it is asked, and comparing it with what it delivered."""
