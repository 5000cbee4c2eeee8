"""Released autoencoders: codes and rebuilt networks equal those of the original layers, written out here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.encoders.released import read_hyper_release, read_sane_release
from weightatlas.errors import ConfigError, FileError, SpecError
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import weights_of
from weightatlas.weights.tokens import TokenConfig, detokenize, layout, tokenize

LIMITS, WIDTH, DIM, LATENT, HEADS = (20, 5, 12), 11, 8, 3, 2


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)
    )


SPEC = spec_of(network(), (1, 4, 4))


def block(bias: bool = False) -> nn.Module:
    made = nn.Module()
    made.ln_1, made.ln_2 = nn.LayerNorm(DIM, bias=False), nn.LayerNorm(DIM, bias=False)
    made.attn, made.mlp = nn.Module(), nn.Module()
    made.attn.c_attn, made.attn.c_proj = nn.Linear(DIM, 3 * DIM, bias), nn.Linear(DIM, DIM, bias)
    made.mlp.c_fc, made.mlp.c_proj = nn.Linear(DIM, 4 * DIM, bias), nn.Linear(4 * DIM, DIM, bias)
    return made


class Original(nn.Module):
    """SANE's autoencoder with GPT-2 blocks, under its own names."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.tokenizer, self.detokenizer = nn.Linear(WIDTH, DIM), nn.Linear(DIM, WIDTH)
        self.encoder_comp, self.decoder_comp = nn.Linear(DIM, LATENT), nn.Linear(LATENT, DIM)
        self.transformer_encoder, self.transformer_decoder = nn.Module(), nn.Module()
        self.transformer_encoder.transformer = nn.ModuleList(block() for _ in range(2))
        self.transformer_decoder.transformer = nn.ModuleList(block() for _ in range(2))
        self.pe = nn.Module()
        self.pe.pe1, self.pe.pe2, self.pe.pe3 = (nn.Embedding(n, DIM // 2) for n in LIMITS)
        self.projection_head = nn.Module()
        self.projection_head.head = nn.Sequential(
            nn.Linear(LATENT * window, 30, bias=False), nn.LayerNorm(30)
        )

    def place(self, x: Tensor, p: Tensor) -> Tensor:
        return x + torch.cat([self.pe.pe1(p[:, 0]) + self.pe.pe2(p[:, 1]), self.pe.pe3(p[:, 2])], dim=-1)

    def run(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for one in blocks:
            parts = one.attn.c_attn(one.ln_1(x)).split(DIM, dim=2)
            q, k, v = (part.view(*x.shape[:2], HEADS, DIM // HEADS).transpose(1, 2) for part in parts)
            mixed = torch.softmax(q @ k.mT / (DIM // HEADS) ** 0.5, -1) @ v
            x = x + one.attn.c_proj(mixed.transpose(1, 2).reshape(x.shape))
            x = x + one.mlp.c_proj(F.gelu(one.mlp.c_fc(one.ln_2(x))))
        return x

    def encode(self, x: Tensor, p: Tensor) -> Tensor:
        return self.encoder_comp(
            self.run(self.transformer_encoder.transformer, self.place(self.tokenizer(x), p))
        )

    def decode(self, z: Tensor, p: Tensor) -> Tensor:
        z = self.place(self.decoder_comp(z), p)
        return self.detokenizer(self.run(self.transformer_decoder.transformer, z))


def release(folder: Path, model: nn.Module, **changes: Any) -> Path:
    """Write a run as released: checkpoint_000050/state.pt and params.json one level up."""
    (folder / "checkpoint_000050").mkdir(parents=True)
    optimizer = torch.optim.AdamW(model.parameters())
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": {"last_epoch": 3}}
    torch.save(state, folder / "checkpoint_000050" / "state.pt")
    settings = {"ae:nhead": HEADS, "ae:transformer_type": "gpt2", "training::windowsize": 17, **changes}
    (folder / "params.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    return folder


def test_sane_codes_and_rebuilds_as_released(tmp_path: Path) -> None:
    original = Original(17).double()
    layers = {f"{k}.weight": {"mean": 0.1 * k, "std": 1.0 + k} for k in range(3)}
    (tmp_path / "n.json").write_text(json.dumps({**layers, "mode": "standardize"}))
    encoder = read_sane_release(release(tmp_path / "run", original), SPEC, tmp_path / "n.json").double()
    values = torch.randn(3, SPEC.params, dtype=torch.float64)
    plan = layout(SPEC, TokenConfig(width=WIDTH))
    layer = plan.positions[:, 1]
    tokens = tokenize(values, plan)
    scaled = torch.where(plan.mask, (tokens - 0.1 * layer[:, None]) / (1.0 + layer[:, None]), 0.0)
    codes = original.encode(scaled, plan.positions)
    encoded = encoder.encode(weights_of(values, SPEC))
    torch.testing.assert_close(encoded.codes.double(), codes, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(encoded.embedding.double(), codes.mean(1), rtol=1e-5, atol=1e-6)
    rebuilt = original.decode(codes, plan.positions) * (1.0 + layer[:, None]) + 0.1 * layer[:, None]
    found = encoder.decode(codes, SPEC).weights
    torch.testing.assert_close(found.double(), detokenize(rebuilt, plan), rtol=1e-5, atol=1e-5)


def test_compiled_releases_and_smaller_windows_are_read(tmp_path: Path) -> None:
    original = Original(4)
    state = {f"_orig_mod.{name}": tensor for name, tensor in original.state_dict().items()}
    folder = release(tmp_path / "run", original, **{"training::windowsize": 4})
    torch.save({"model": state}, folder / "checkpoint_000050" / "state.pt")
    encoder = read_sane_release(folder, SPEC)
    assert encoder.config.window == 4
    plan = layout(SPEC, TokenConfig(width=WIDTH))
    values = torch.randn(2, SPEC.params)
    tokens = tokenize(values, plan)[:, :4]
    codes = encoder.encode(weights_of(values, SPEC)).codes
    torch.testing.assert_close(
        codes[:, :4], original.encode(tokens, plan.positions[:4]), rtol=1e-4, atol=1e-5
    )


def test_other_kinds_of_sane_are_refused_with_what_differs(tmp_path: Path) -> None:
    stock = Original(17)
    layer = nn.TransformerEncoderLayer(DIM, HEADS, 16)
    stock.transformer_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    with pytest.raises(ConfigError, match="attends across networks"):
        read_sane_release(release(tmp_path / "a", stock), SPEC)
    with pytest.raises(ConfigError, match="number of heads"):
        read_sane_release(release(tmp_path / "b", Original(17), **{"ae:nhead": None}), SPEC)
    other = spec_of(nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 2)), (4,))
    with pytest.raises(ConfigError, match="12 channel positions, the networks need 30"):
        read_sane_release(release(tmp_path / "c", Original(17)), other)
    with pytest.raises(FileError, match=r"no state.pt"):
        read_sane_release(tmp_path, SPEC)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.bias = nn.Parameter(torch.rand(DIM)), nn.Parameter(torch.rand(DIM))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.bias


def layer_2022() -> nn.Module:
    made = nn.Module()
    made.norm_1, made.norm_2, made.attn, made.ff = Norm(), Norm(), nn.Module(), nn.Module()
    for name in ("q_linear", "k_linear", "v_linear", "out"):
        setattr(made.attn, name, nn.Linear(DIM, DIM))
    made.ff.linear_1, made.ff.linear_2 = nn.Linear(DIM, 12), nn.Linear(12, DIM)
    return made


class Half(nn.Module):
    """Encoder or decoder of the 2022 release."""

    def __init__(self, widths: list[int], tokens: int, encodes: bool) -> None:
        super().__init__()
        maps = nn.ModuleList(nn.Linear(w, DIM) if encodes else nn.Linear(DIM, w) for w in widths)
        setattr(self, "token_embeddings" if encodes else "token_debeddings", nn.Module())
        getattr(self, "token_embeddings" if encodes else "token_debeddings").layer_lst = maps
        self.position_embeddings = nn.Embedding(tokens, DIM)
        self.layers = nn.ModuleList(layer_2022() for _ in range(2))
        if encodes:
            self.vec2neck = nn.Sequential(nn.Linear(DIM * tokens, LATENT), nn.Tanh())
        else:
            self.nec2vec = nn.Linear(LATENT, DIM * tokens)

    def mix(self, x: Tensor) -> Tensor:
        x = x + self.position_embeddings.weight
        for one in self.layers:
            inner = one.norm_1(x)
            parts = (one.attn.q_linear(inner), one.attn.k_linear(inner), one.attn.v_linear(inner))
            q, k, v = (part.view(*x.shape[:2], HEADS, DIM // HEADS).transpose(1, 2) for part in parts)
            mixed = torch.softmax(q @ k.mT / (DIM // HEADS) ** 0.5, -1) @ v
            x = x + one.attn.out(mixed.transpose(1, 2).reshape(x.shape))
            x = x + one.ff.linear_2(F.relu(one.ff.linear_1(one.norm_2(x))))
        return x


def rows_of(values: Tensor) -> list[Tensor]:
    """Neurons as the release takes them: incoming weights, then the bias, layer by layer."""
    rows, start = [], 0
    for count, fan in ((4, 9), (5, 16), (3, 5)):
        weight = values[:, start : start + count * fan].view(-1, count, fan)
        start += count * fan
        rows.append(torch.cat([weight, values[:, start : start + count, None]], dim=2))
        start += count
    return rows


def release_2022(folder: Path, **changes: Any) -> tuple[Path, nn.Module]:
    made = nn.Module()
    made.encoder, made.decoder = Half([10, 17, 6], 12, True), Half([10, 17, 6], 12, False)
    folder.mkdir()
    torch.save(made.state_dict(), folder / "checkpoint_ae.pt")
    settings = {
        "model::N_attention_heads": HEADS,
        "model::bottleneck": "linear_bounded",
        "model::dropout": 0.1,
    }
    (folder / "config_ae.json").write_text(json.dumps({**settings, **changes}))
    return folder, made


def test_hyper_representations_code_and_rebuild_as_released(tmp_path: Path) -> None:
    folder, made = release_2022(tmp_path / "mnist")
    encoder = read_hyper_release(folder, SPEC)
    values = torch.randn(3, SPEC.params)
    maps = made.encoder.token_embeddings.layer_lst
    x = torch.cat([layer(rows) for layer, rows in zip(maps, rows_of(values), strict=True)], dim=1)
    code = made.encoder.vec2neck(made.encoder.mix(x).flatten(1))
    torch.testing.assert_close(
        encoder.encode(weights_of(values, SPEC)).codes[:, 0], code, rtol=1e-4, atol=1e-5
    )
    y = made.decoder.mix(made.decoder.nec2vec(code).view(3, 12, DIM))
    parts = y.split([4, 5, 3], dim=1)
    maps = made.decoder.token_debeddings.layer_lst
    rebuilt = [layer(part) for layer, part in zip(maps, parts, strict=True)]
    found = rows_of(encoder.decode(code[:, None], SPEC).weights)
    for one, other in zip(found, rebuilt, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_other_kinds_of_hyper_representations_are_refused_with_what_differs(tmp_path: Path) -> None:
    folder, made = release_2022(tmp_path / "a")
    state = {n: t for n, t in made.state_dict().items() if "layer_lst" not in n and "vec2neck" not in n}
    torch.save({**state, "decoder.decoder_bias": torch.zeros(3)}, folder / "checkpoint_ae.pt")
    with pytest.raises(ConfigError, match="3 problems") as error:
        read_hyper_release(folder, SPEC)
    for words in ("single weights", "vec2neck", "learned bias"):
        assert words in str(error.value)
    folder, _ = release_2022(tmp_path / "b")
    other = spec_of(nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)), (4,))
    with pytest.raises(SpecError, match="layout of the networks needs"):
        read_hyper_release(folder, other)
    (folder / "config_ae.json").unlink()
    with pytest.raises(FileError, match=r"config_ae.json"):
        read_hyper_release(folder, SPEC)
