"""What several comparisons share: the command line, and records of finished work. Not here: anything that trains or scores."""
