"""A trained SANE on networks of another layout: its transformers stay, a few prompts set the rest."""

import torch

from weightatlas.encoders.sane import Sane
from weightatlas.errors import DataError
from weightatlas.weights.batch import Batch
from weightatlas.weights.spec import NetworkSpec


@torch.no_grad()
def carry_over(encoder: Sane, spec: NetworkSpec, prompts: Batch) -> Sane:
    """Make an encoder of another layout from a trained one and a few networks of that layout.

    Tokens keep their width, so wider or deeper networks have more of them; longer ones are processed in
    windows of as many tokens as the encoder was trained on (SANE, ICML 2024, section 4.4). Position vectors
    beyond the trained tables repeat the last one. Scaling and the linear path belong to a layout and are
    fitted on the prompts.

    Args:
        encoder: Trained on another layout.
        spec: Layout of the new networks.
        prompts: A few of them, at least two.

    Returns:
        An encoder in evaluation mode; the trained one is not changed.

    Raises:
        DataError: There are fewer than two prompts.
    """
    if len(prompts) < 2:
        raise DataError(
            f"Prompts set scaling and the linear path: at least 2 are needed, not {len(prompts)}."
        )
    seen = encoder.config.window or encoder.plan.tokens
    settings = {"token_width": encoder.plan.width, "window": seen, "max_positions": None}
    made = Sane(encoder.config.replace(**settings), spec).to(encoder.mean.device)
    made.encoder.load_state_dict(encoder.encoder.state_dict())
    made.decoder.load_state_dict(encoder.decoder.state_dict())
    for name in ("token", "layer", "channel"):
        known, table = (getattr(each.positions, name).weight for each in (encoder, made))
        rows = torch.arange(len(table), device=table.device).clamp(max=len(known) - 1)
        table.copy_(known[rows])
    made.adapt(prompts)
    return made.eval()
