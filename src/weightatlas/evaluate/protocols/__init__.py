"""Benches: one experiment a file, resumable, baselines included."""

from weightatlas.evaluate.protocols import batchnorm as batchnorm
from weightatlas.evaluate.protocols import cnn3 as cnn3
from weightatlas.evaluate.protocols import cross_architecture as cross_architecture
from weightatlas.evaluate.protocols import cross_dataset as cross_dataset
from weightatlas.evaluate.protocols import data_efficiency as data_efficiency
from weightatlas.evaluate.protocols import downstream as downstream
from weightatlas.evaluate.protocols import ensembles as ensembles
from weightatlas.evaluate.protocols import gap as gap
from weightatlas.evaluate.protocols import generation as generation
from weightatlas.evaluate.protocols import inr_frequency as inr_frequency
from weightatlas.evaluate.protocols import intervals as intervals
from weightatlas.evaluate.protocols import layerwise as layerwise
from weightatlas.evaluate.protocols import losses as losses
from weightatlas.evaluate.protocols import netspace_cifar as netspace_cifar
from weightatlas.evaluate.protocols import netspace_ladder as netspace_ladder
from weightatlas.evaluate.protocols import netspace_optimize as netspace_optimize
from weightatlas.evaluate.protocols import netspace_reconstruct as netspace_reconstruct
from weightatlas.evaluate.protocols import netspace_shapes as netspace_shapes
from weightatlas.evaluate.protocols import prompts as prompts
from weightatlas.evaluate.protocols import rebuild as rebuild
from weightatlas.evaluate.protocols import same_zoo as same_zoo
from weightatlas.evaluate.protocols import sne_ablations as sne_ablations
from weightatlas.evaluate.protocols import structure as structure
from weightatlas.evaluate.protocols import transfer as transfer
from weightatlas.evaluate.protocols.registry import benches as benches
from weightatlas.evaluate.protocols.registry import cards as cards
