"""What uses everything: the demo, the tables, their report and the README's pictures."""
