"""What encoders are trained for: terms of a loss, and the views they are computed on."""

from weightatlas.objectives.behavioral import Behavioral as Behavioral
from weightatlas.objectives.composite import Composite as Composite
from weightatlas.objectives.composite import LossConfig as LossConfig
from weightatlas.objectives.composite import build_loss as build_loss
from weightatlas.objectives.composite import recipe as recipe
from weightatlas.objectives.contrastive import Contrastive as Contrastive
from weightatlas.objectives.invariance import Invariance as Invariance
from weightatlas.objectives.property import Property as Property
from weightatlas.objectives.property import Target as Target
from weightatlas.objectives.step import Objective as Objective
from weightatlas.objectives.step import Step as Step
from weightatlas.objectives.structural import Structural as Structural
from weightatlas.objectives.views import ViewConfig as ViewConfig
from weightatlas.objectives.views import make_views as make_views
