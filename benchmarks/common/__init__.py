"""What several comparisons share: command line, records of finished work. Not here: anything that trains or scores."""
