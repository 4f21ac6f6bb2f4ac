"""Miniatures of published sets: tiny images, workbooks and slides under the names and folders of the real ones."""

import os
import zipfile
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def write_image(path, seed=0, size=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng([seed]).integers(0, 255, (10, 10, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path)


def write_many(root, names):
    """One image under many names: links, as only names and counts matter."""
    original = root.parent / f"{root.name}-one.png"
    write_image(original)
    for folder in {(root / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.link(original, root / name)


def write_xlsx(path, rows, inline=False):
    """A workbook as spreadsheet programs write it: shared strings (or inline ones), numbers, empty cells left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shared, lines = [], []
    for number, row in enumerate(rows, start=1):
        cells = []
        for column, value in enumerate(row):
            place = f"{chr(ord('A') + column)}{number}"
            if value is None:
                continue
            if isinstance(value, str) and inline:
                cells.append(f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>')
            elif isinstance(value, str):
                cells.append(f'<c r="{place}" t="s"><v>{len(shared)}</v></c>')
                shared.append(value)
            else:
                cells.append(f'<c r="{place}"><v>{value}</v></c>')
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    strings = "".join(f"<si><t>{escape(text)}</t></si>" for text in shared)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}">'
            '<sheets><sheet name="S" sheetId="1" r:id="rId3"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="rId3" Type="worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{strings}</sst>')
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>',
        )
