"""The parts of ABMILX, for the reader's own code: bags in, logits and attention out."""

from assay.data.torch_files import read_torch_file as read_torch_file
from assay.papers.vision.abmilx.method.aggregators import (
    ABMIL as ABMIL,
    ABMILX as ABMILX,
    Aggregated as Aggregated,
    GatedABMIL as GatedABMIL,
    GlobalAttentionRefinement as GlobalAttentionRefinement,
    MaxMIL as MaxMIL,
    MeanMIL as MeanMIL,
    MultiHeadLocalAttention as MultiHeadLocalAttention,
)
from assay.papers.vision.abmilx.method.attention import (
    attention_sparsity as attention_sparsity,
    contact_sheet as contact_sheet,
    heat_map as heat_map,
)
from assay.papers.vision.abmilx.method.bags import (
    BagBatch as BagBatch,
    BagDataset as BagDataset,
    RandomInstanceSampler as RandomInstanceSampler,
    collate_bags as collate_bags,
    pad_bags as pad_bags,
)
from assay.papers.vision.abmilx.method.checkpoints import (
    AuthorsCheckpoint as AuthorsCheckpoint,
    load_authors_checkpoint as load_authors_checkpoint,
)
from assay.papers.vision.abmilx.method.encoders import (
    RandomCropFlip as RandomCropFlip,
    VisionEncoder as VisionEncoder,
)
from assay.papers.vision.abmilx.method.end_to_end import EndToEndMIL as EndToEndMIL
from assay.papers.vision.abmilx.method.heads import (
    CLAM as CLAM,
    DSMIL as DSMIL,
    TransMIL as TransMIL,
)
from assay.papers.vision.abmilx.method.losses import (
    bag_cross_entropy as bag_cross_entropy,
    discrete_hazard_nll as discrete_hazard_nll,
)
from assay.papers.vision.abmilx.method.survival import (
    HazardBins as HazardBins,
    concordance_index as concordance_index,
    hazard_risk as hazard_risk,
)
