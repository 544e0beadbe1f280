"""Models: where they come from, text models here and on servers, encoders, small reference networks.

Importing this package loads neither torch nor transformers; the heavy names are loaded on first use.
"""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.models.bodies import (
        Standardise as Standardise,
        load_config as load_config,
        longest_input as longest_input,
    )
    from assay.models.classifier import (
        Classifier as Classifier,
        ClassifierSpec as ClassifierSpec,
        SavedClassifier as SavedClassifier,
        Training as Training,
        classification_loss as classification_loss,
        prepare_rows as prepare_rows,
        train_classifier as train_classifier,
    )
    from assay.models.encoders import SentenceEncoder as SentenceEncoder
    from assay.models.flops import count_flops as count_flops
    from assay.models.local import LocalTextModel as LocalTextModel
    from assay.models.networks import (
        MLP as MLP,
        BagOfEmbeddings as BagOfEmbeddings,
        ConvNet as ConvNet,
        hash_words as hash_words,
        mlp as mlp,
    )
    from assay.models.opening import open_text_model as open_text_model
    from assay.models.pretrained import load_model as load_model, load_tokenizer as load_tokenizer
    from assay.models.replies import CachedTextModel as CachedTextModel, ReplyCache as ReplyCache
    from assay.models.sequence import (
        TextClassifier as TextClassifier,
        TextGenerator as TextGenerator,
        load_text_function as load_text_function,
    )
    from assay.models.server import ServerError as ServerError, ServerTextModel as ServerTextModel
    from assay.models.source import ModelSource as ModelSource, OwnModel as OwnModel
    from assay.models.text import Reply as Reply, Score as Score, TextModel as TextModel
    from assay.models.tiny import (
        SmallLlama as SmallLlama,
        byte_pair_tokenizer as byte_pair_tokenizer,
        tiny_causal_lm as tiny_causal_lm,
        tokenizer_from_json as tokenizer_from_json,
        tokenizer_to_json as tokenizer_to_json,
        word_tokenizer as word_tokenizer,
    )
else:
    __getattr__, __dir__ = lazy.attach(__name__, "language")
