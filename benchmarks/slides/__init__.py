"""Zero-shot answers for whole slides, judged on slides with planted tumour, beside floors and a permuted control.

Lives here: training on the images no slide is made of, embedding, scores of every pooling, the table. Not here: making
slides (``data_prep.slides``), reading and answering them (``medvlp.slides``, ``medvlp.zeroshot``).
"""
