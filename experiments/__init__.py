"""What uses everything: the demo, and later the tables and their report."""
