"""From the records of a grid to one JSON, one CSV and one page. Not here: anything that scores."""
