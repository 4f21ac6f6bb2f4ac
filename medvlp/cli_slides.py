"""The command group for whole slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvlp.errors import DataError

slide_app = typer.Typer(help="Look at whole-slide images.", no_args_is_help=True, rich_markup_mode=None)
MPP = Annotated[
    float | None, typer.Option("--mpp", help="Micrometres per full-size pixel, for files that do not state it.")
]


@slide_app.command("info")
def slide_info(
    file: Annotated[Path, typer.Argument(help="A slide, or the folder of one DICOM slide.")],
    mpp: MPP = None,
    preview: Annotated[Path | None, typer.Option(help="Also write a picture of tissue and tiles (.png).")] = None,
) -> None:
    """Print size, levels, resolution and its source, tissue share and number of tiles. Never labels or metadata.

    Example: medvlp slide info slide.svs --preview slide.png
    """
    from medvlp.slides.grid import GridConfig, tile_grid
    from medvlp.slides.reader import open_slide
    from medvlp.slides.tissue import tissue_mask

    if preview is not None and preview.suffix.lower() != ".png":
        raise DataError("is not the name of a PNG file", item=preview, remedy="let it end in .png")
    with open_slide(file, mpp=mpp) as slide:
        typer.echo(f"size: {slide.size[0]} x {slide.size[1]} px")
        sizes = ", ".join(f"{level.size[0]} x {level.size[1]} (1:{level.downsample:.6g})" for level in slide.levels)
        typer.echo(f"levels: {len(slide.levels)}: {sizes}")
        value = "unknown" if slide.mpp is None else f"{slide.mpp:.6g} um per pixel ({slide.mpp_source})"
        typer.echo(f"resolution: {value}")
        typer.echo(f"read by: {slide.reader}")
        for note in slide.notes:
            typer.echo(f"note: {note}")
        mask = tissue_mask(slide)
        excluded = "".join(f", without {name} {share:.1%}" for name, share in sorted(mask.excluded.items()))
        typer.echo(f"tissue: {mask.share:.1%} of the slide{excluded}")
        grid = None
        if slide.mpp is None:
            typer.echo("tiles: unknown without a resolution; give --mpp")
        else:
            config = GridConfig()
            try:
                grid = tile_grid(slide, mask, config)
                words = f"{len(grid)} of {config.tile_size} px at {config.mpp:g} um per pixel"
                typer.echo(f"tiles: {words}, {grid.patch_size_level0} px of the slide each")
            except DataError as error:
                typer.echo(f"tiles: none at {config.mpp:g} um per pixel ({error.problem})")
        if preview is not None:
            from medvlp.slides.preview import write_preview

            typer.echo(f"picture: {write_preview(preview, slide, mask, grid)}")
