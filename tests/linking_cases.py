"""A graph, a corpus in two parts and captions that a linker can get partly right."""

from medvlp.knowledge.graph import DiseaseGraph

PUBTATOR = """
1|t|Breast cancer and lump.
1|a|Breast and ovarian cancer, DM.
1\t0\t13\tBreast cancer\tSpecificDisease\tD1
1\t24\t49\tBreast and ovarian cancer\tCompositeMention\tD1|D2
1\t51\t53\tDM\tModifier\t OMIM:7

2|t|Brest cancers
2|a|
2\t0\t13\tBrest cancers\tSpecificDisease\tD1
"""


def write_linking(tmp_path):
    """Write ``graph``, ``train.txt``, ``development.txt``, ``captions.csv`` and ``linker.yaml`` into a folder."""
    graph = DiseaseGraph.from_dict(
        {
            "X:1": {"name": "breast cancer", "xrefs": ["MESH:D1", "UMLS:C1"]},
            "X:2": {"name": "ovarian cancer", "xrefs": ["MESH:D2", "UMLS:C2"]},
            "X:3": {"name": "lump"},
            "X:4": {"name": "myotonic dystrophy", "xrefs": ["OMIM:7"]},
        }
    )
    graph.save(tmp_path / "graph")
    (tmp_path / "train.txt").write_text(PUBTATOR, encoding="utf-8")
    development = (
        "3|t|Ovarian cancer, lump, DM\n3|a|Brest cancer\n3\t0\t14\tOvarian cancer\tX\tD2\n"
        "3\t22\t24\tDM\tX\tOMIM:7\n3\t25\t37\tBrest cancer\tX\tD1\n4|t|Other\n4|a|x\n4\t0\t5\tOther\tX\tD404\n"
    )
    (tmp_path / "development.txt").write_text(development, encoding="utf-8")
    (tmp_path / "captions.csv").write_text(
        "roco_id,caption,cuis\nR1,An ovarian cancer.,C2 C1\nR2,x,C9\n", encoding="utf-8"
    )
    (tmp_path / "linker.yaml").write_text(
        f"kind: linker\ngraph: {tmp_path / 'graph'}\ntiers: [exact, fuzzy]\nexclude: []\nexclude_below: []\n",
        encoding="utf-8",
    )
