"""Weight-space learning: trained neural networks as data."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from weightatlas.encoders.io import create_encoder as create_encoder
    from weightatlas.encoders.io import from_pretrained as from_pretrained
    from weightatlas.encoders.io import save_pretrained as save_pretrained
    from weightatlas.networks import create_network as create_network
    from weightatlas.population.forward import Population as Population
    from weightatlas.predict import PropertyPredictor as PropertyPredictor
    from weightatlas.symmetry.verify import spec_of as spec_of
    from weightatlas.tasks import create_task as create_task
    from weightatlas.zoo import Zoo as Zoo
    from weightatlas.zoo.importers.folder import import_folder as import_folder
    from weightatlas.zoo.populate import populate as populate
    from weightatlas.zoo.recipe import load_recipe as load_recipe

# The public names, in the order of a day's work; each is imported when it is first used. `fit` is missing:
# a function of the name of its room could not be told from it (`from weightatlas.fit import fit`).
_PLACES = {
    "create_task": "tasks",
    "create_network": "networks",
    "spec_of": "symmetry.verify",
    "Population": "population.forward",
    "Zoo": "zoo",
    "load_recipe": "zoo.recipe",
    "populate": "zoo.populate",
    "import_folder": "zoo.importers.folder",
    "create_encoder": "encoders.io",
    "save_pretrained": "encoders.io",
    "from_pretrained": "encoders.io",
    "PropertyPredictor": "predict",
}
__all__ = ["__version__", *_PLACES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'weightatlas' has no attribute '{name}'")
    return getattr(import_module(f"weightatlas.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
