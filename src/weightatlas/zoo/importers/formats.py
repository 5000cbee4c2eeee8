"""All published formats; importing this file registers them."""

from weightatlas.zoo.importers import cnn_park as cnn_park
from weightatlas.zoo.importers import navon as navon
from weightatlas.zoo.importers import nfn_siren as nfn_siren
from weightatlas.zoo.importers import ray_tune as ray_tune
from weightatlas.zoo.importers import sample_sets as sample_sets
from weightatlas.zoo.importers import token_sets as token_sets
from weightatlas.zoo.importers import unterthiner as unterthiner
from weightatlas.zoo.importers import vector_zoo as vector_zoo
