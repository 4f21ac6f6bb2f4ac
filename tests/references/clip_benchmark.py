"""What CLIP_benchmark's documentation says its numbers are, one query and one item at a time.

Equal scores may be returned in any order, so a number is what it is for one order; here for all of them.
"""

import itertools
import math


def orders(scores):
    """Every order of items from best to worst that the scores allow."""
    ranked = sorted(set(scores), reverse=True)
    groups = [[item for item, score in enumerate(scores) if score == value] for value in ranked]
    ways = itertools.product(*(itertools.permutations(group) for group in groups))
    return [[item for group in way for item in group] for way in ways]


def hit(order, right, k):
    """A query counts as answered if any right item is among the first k, however many right items it has."""
    return any(item in right for item in order[:k])


def recall(scores, right, k):
    """Lowest and highest share of answered queries over all orders.

    scores: for each query the score of each item; right: for each query the set of right items.
    """
    low = high = 0
    for row, wanted in zip(scores, right, strict=True):
        answers = [hit(order, wanted, k) for order in orders(row)]
        low += all(answers)
        high += any(answers)
    return low / len(scores), high / len(scores)


def top_k_accuracy(logits, targets, k):
    return recall(logits, [{target} for target in targets], k)


def mean_per_class_recall(logits, targets):
    """Of each class that occurs, the share of its samples whose first best class it is; then the plain mean."""
    shares = []
    for label in sorted(set(targets)):
        own = [row for row, target in zip(logits, targets, strict=True) if target == label]
        shares.append(sum(list(row).index(max(row)) == label for row in own) / len(own))
    return sum(shares) / len(shares)


def retrieval(scores, image_of_text, num_images, k):
    """Recall at k in both directions from scores[text][image], each as (lowest, highest)."""
    to_image = recall(scores, [{image} for image in image_of_text], k)
    columns = [[row[image] for row in scores] for image in range(num_images)]
    texts_of = [{text for text, image in enumerate(image_of_text) if image == own} for own in range(num_images)]
    return to_image, recall(columns, texts_of, k)


def unit(vector):
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def class_vector(embed, name, templates):
    """Unit mean of unit vectors of the filled templates."""
    rows = [unit(embed(template.replace("{c}", name))) for template in templates]
    return unit([sum(column) / len(rows) for column in zip(*rows, strict=True)])
