"""What networks are trained on: data, normalization, loss, score, and unlabelled queries."""

from weightatlas.tasks import bundled as bundled
from weightatlas.tasks import hub as hub
from weightatlas.tasks import image_folder as image_folder
from weightatlas.tasks import readers as readers
from weightatlas.tasks import stl10 as stl10
from weightatlas.tasks import svhn as svhn
from weightatlas.tasks.queries import QueryPool as QueryPool
from weightatlas.tasks.task import Task as Task
from weightatlas.tasks.task import create_task as create_task
from weightatlas.tasks.task import tasks as tasks
