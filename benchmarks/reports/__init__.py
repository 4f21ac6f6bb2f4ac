"""Open-I: findings of our triplets against the reports' own MeSH codes, with floors. Not here: the rules themselves."""
