"""InstaGeo's parts: chips out of scenes, a segmentation model, students by depth, rasters and a map.

chips = ChipCreator(LocalScenes("scenes")).create("points.csv", "chips")
student = DepthDistiller(teacher, depth=1, reset=["head"]).fit(batches, epochs=20)
predictions = predict_rasters(student, chips, "predictions")
StaticMap(["water", "forest"]).export(predictions, "map")
"""

from assay.papers.vision.augmentation import Augmentation as Augmentation
from assay.papers.vision.geo.dataset import ChipDataset as ChipDataset, to_steps as to_steps
from assay.papers.vision.geo.labels import (
    Columns as Columns,
    LabelRaster as LabelRaster,
    Points as Points,
    read_label_rasters as read_label_rasters,
    read_points as read_points,
)
from assay.papers.vision.geo.masks import (
    FMASK_BITS as FMASK_BITS,
    SCL_CLASSES as SCL_CLASSES,
    ChipCleaner as ChipCleaner,
    blank as blank,
    buffer_labels as buffer_labels,
    limit_labels as limit_labels,
    observed as observed,
    quality_mask as quality_mask,
)
from assay.papers.vision.geo.places import (
    connected_groups as connected_groups,
    great_circle as great_circle,
    kmeans_groups as kmeans_groups,
    mgrs_tiles as mgrs_tiles,
    split_groups as split_groups,
    utm_zone as utm_zone,
)
from assay.papers.vision.geo.prithvi import (
    HUB as HUB,
    PRITHVI as PRITHVI,
    EncoderShape as EncoderShape,
    PrithviEncoder as PrithviEncoder,
    count_blocks as count_blocks,
    count_encoder as count_encoder,
    fetch_prithvi as fetch_prithvi,
    load_prithvi as load_prithvi,
)
from assay.papers.vision.geo.rasters import (
    Grid as Grid,
    merge_rasters as merge_rasters,
    read_raster as read_raster,
    write_raster as write_raster,
)
from assay.papers.vision.geo.scenes import (
    RADAR as RADAR,
    BandFile as BandFile,
    LocalScenes as LocalScenes,
    Scene as Scene,
    SceneCatalog as SceneCatalog,
    SceneList as SceneList,
    StacApi as StacApi,
    StacTree as StacTree,
    read_items as read_items,
)
from assay.papers.vision.geo.webmap import (
    Predicted as Predicted,
    StaticMap as StaticMap,
    distinct_colors as distinct_colors,
    predict_rasters as predict_rasters,
)
from assay.papers.vision.segmentation import (
    ConfusionMatrix as ConfusionMatrix,
    RocHistogram as RocHistogram,
    ValueErrors as ValueErrors,
)

from .chips import ChipCreator as ChipCreator, paint_labels as paint_labels
from .cost import EnergyMeter as EnergyMeter, count_macs as count_macs, count_parameters as count_parameters
from .distil import (
    Choice as Choice,
    DepthDistiller as DepthDistiller,
    DistillationLoss as DistillationLoss,
    RegressionDistillationLoss as RegressionDistillationLoss,
    choose_depth as choose_depth,
    class_weights as class_weights,
    find_blocks as find_blocks,
    kept_blocks as kept_blocks,
    prune as prune,
)
from .head import (
    SegmentationModel as SegmentationModel,
    UpsampleSegHead as UpsampleSegHead,
    channel_statistics as channel_statistics,
    reset_head as reset_head,
)
from .observations import Funnel as Funnel, TimeSteps as TimeSteps, group_observations as group_observations
