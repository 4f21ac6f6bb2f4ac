"""What several comparisons share: records of finished work. Not here: anything that trains or scores."""
