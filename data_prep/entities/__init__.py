"""What is present where in each image of a set: from planted findings, from report texts, or from class labels.

Lives here: the job behind ``medvlp entities``, its three sources, descriptions of entities, triples of texts.
Not here: the folder's form (``medvlp.data.entities``), rules for one text (``data_prep.text``), which descriptions a
run asks with (``medvlp.training.entity_texts``).
"""
