"""``medvlp serve``: look at diagnosed slides in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    folder: Annotated[Path, typer.Argument(help="What `medvlp diagnose` wrote, or a folder of several such.")],
    slides: Annotated[
        Path | None, typer.Option(help="The folder the slides lie in, where they are not where they were.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; by default this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    show_names: Annotated[
        bool, typer.Option("--show-names", help="Call slides by the names of their files, not by numbers.")
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = False,
) -> None:
    """Look at diagnosed slides in a browser: the slide, its heat map, the scores of every tile. Ctrl-C ends it.

    Example: medvlp serve answer
    """
    from medvlp.viewer.server import is_loopback, open_viewer

    with open_viewer(folder, host=host, port=port, slides=slides, show_names=show_names) as server:
        if not is_loopback(host):
            typer.echo(
                f"warning: everybody on the network of {host} who learns the address below can see the slides, and "
                "it is not encrypted",
                err=True,
            )
        if server.ledger.dropped:
            typer.echo(f"left out: {server.ledger}", err=True)
        typer.echo(f"open {server.url}")
        typer.echo("Ctrl-C ends it.")
        if open_browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("\nstopped")
        if server.site.num_unreadable:
            typer.echo(f"{server.site.num_unreadable} tiles could not be decoded and were shown grey", err=True)
