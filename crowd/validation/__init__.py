"""What is wrong with a data set, and a cleaned copy of it (`python -m crowd.validate`)."""
