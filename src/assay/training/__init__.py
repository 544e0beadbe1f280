"""Training and evaluation of PyTorch models: one loop for a core, a GPU and several processes."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.training.compute import Compute as Compute
    from assay.training.evaluation import accuracy as accuracy, evaluate as evaluate, predict as predict
    from assay.training.language import (
        completion_rows as completion_rows,
        greedy_decode as greedy_decode,
        mean_token_loss as mean_token_loss,
        next_token_loss as next_token_loss,
        pack_documents as pack_documents,
        pad_rows as pad_rows,
        weights_of as weights_of,
    )
    from assay.training.loader import TensorBatches as TensorBatches, batches as batches
    from assay.training.loop import History as History, fit as fit
    from assay.training.schedules import warmup_cosine as warmup_cosine
else:
    __getattr__, __dir__ = lazy.attach(__name__)
