"""Which side a mention is on: words in it, before it, behind it, and what shuts them out."""

import pytest
from marked_texts import marked

from data_prep.text.laterality import Side, sides

CASES = """\
Small left pleural [effusion].|left
[Effusion] on the right.|right
Left [effusion] and right [pneumothorax].|left,right
Bilateral [effusions].|bilateral
[Opacity] in the right upper lobe and [nodule] in the left lung.|right,left
[Effusions], left greater than right.|bilateral
Right and left [effusions].|bilateral
Patient left the hospital with [pneumonia].|None
No [pneumothorax]. Left lung clear.|None
[left lower lobe] collapse|left
RLL [infiltrate]|right
Left lung clear, [nodule] seen|None"""


@pytest.mark.parametrize("line", CASES.splitlines())
def test_sentences(line):
    sentence, wanted = line.rsplit("|", 1)
    text, spans = marked(sentence)
    assert ["None" if side is None else side.value for side in sides(text, spans)] == wanted.split(",")


def test_swapping_the_sides_swaps_the_answers():
    text = "Small left effusion; opacity in the right upper lobe."
    spans = [(11, 19), (21, 28)]
    swapped = text.replace("left", "@").replace("right", "left").replace("@", "right")
    moved = [(12, 20), (22, 29)]
    assert sides(text, spans) == [Side.left, Side.right]
    assert sides(swapped, moved) == [Side.right, Side.left]
