"""What several comparisons share: command line, records, the graph. Not here: anything that trains or scores."""
