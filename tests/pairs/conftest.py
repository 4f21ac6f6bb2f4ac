"""A small folder of distinguishable images with a table, for every preparation test."""

import pytest
from pairs_helpers import picture, write_table


@pytest.fixture
def make_folder(tmp_path):
    """Build images/ and table.csv; returns the folder, the rows and a config maker."""
    from data_prep.pairs.config import PairsConfig

    def make(num=20, columns=("file", "label"), config=None, **values):
        folder = tmp_path / "source"
        (folder / "images").mkdir(parents=True)
        rows = []
        for i in range(num):
            picture(i).save(folder / "images" / f"{i:03d}.png")
            everything = {
                "file": f"{i:03d}.png",
                "label": "ab"[i % 2],
                "case": f"p{i // 2}",
                "split": "train" if i < 12 else "test",
                "caption": f"finding number {i} in the left lung",
                "number": str(i),
            }
            rows.append({column: everything[column] for column in columns})
        write_table(folder / "table.csv", rows)

        def settings(columns=None, source=None, **changes):
            base = {
                "name": "folder_csv",
                "images": str(folder / "images"),
                "table": str(folder / "table.csv"),
                "columns": columns or {"image": "file", "label": "label"},
            }
            return PairsConfig.model_validate({"source": {**base, **(source or {})}, **changes})

        return folder, rows, settings

    return make
