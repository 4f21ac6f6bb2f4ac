"""The first command a new user types: graph, pairs, two trainings, a judged and exported model.

Each step is one of the ordinary verbs with an ordinary config; nothing here trains or scores.
"""
