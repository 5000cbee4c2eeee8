"""weightatlas embed."""

from pathlib import Path
from typing import Annotated

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.inputs import Part, open_encoder, open_part


def embed(
    run: Annotated[Path, tyro.conf.Positional],
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Path,
    part: Part = "all",
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Turn networks into embeddings, one vector a network.

    The file holds "embeddings" (float32, a network a row); a table of ids stands beside it as .csv.

    Example:
        weightatlas embed runs/sane runs/digits-zoo --out embeddings.safetensors

    Args:
        run: Folder of the run, or of a saved encoder.
        zoo: Folder of the zoo.
        out: The .safetensors file to write.
        part: Split to embed.
        json: Print the result as JSON.
        dry_run: Only say how many networks would be embedded.
    """
    from safetensors.torch import save

    from weightatlas.atomic import write_bytes, write_text

    if out.suffix != ".safetensors":
        raise WrongUsage(f"--out: embeddings are written as .safetensors, not '{out.suffix}'.")
    networks = open_part(zoo, part)
    encoder = open_encoder(run, networks)
    if dry_run:
        console.print_facts({"networks": len(networks), "encoder": encoder.name}, as_json=json)
        return
    embeddings = encoder.embed(networks.batch()).float().contiguous()
    write_text(out.with_suffix(".csv"), networks.table.to_csv())
    write_bytes(out, save({"embeddings": embeddings}))
    facts = {"networks": len(embeddings), "dim": embeddings.shape[1], "file": str(out)}
    console.print_facts(facts, as_json=json)
