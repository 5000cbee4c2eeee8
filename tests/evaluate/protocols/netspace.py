"""Smoke zoos of the NetSpace benches, populated once."""

from functools import lru_cache
from pathlib import Path

from weightatlas.evaluate.protocols.netspace_ladder import LadderConfig
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.evaluate.protocols.stage import Stage, stage


@lru_cache
def smoke(recipe: str, cache: Path) -> Stage:
    return stage(recipe, "smoke", cache)


def rungs() -> LadderConfig:
    return settings_of("netspace_ladder", "smoke", LadderConfig, {})
