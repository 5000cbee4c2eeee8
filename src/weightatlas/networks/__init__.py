"""Architectures that zoos are made of, one family a file."""

from weightatlas.networks import cnn as cnn
from weightatlas.networks import cnn_park as cnn_park
from weightatlas.networks import ladder as ladder
from weightatlas.networks import lenet5 as lenet5
from weightatlas.networks import mlp as mlp
from weightatlas.networks import netspace_cnns as netspace_cnns
from weightatlas.networks import resnet_cifar as resnet_cifar
from weightatlas.networks import resnet_small as resnet_small
from weightatlas.networks import siren as siren
from weightatlas.networks import vit as vit
from weightatlas.networks.registry import create_network as create_network
from weightatlas.networks.registry import input_shape_of as input_shape_of
from weightatlas.networks.registry import networks as networks
