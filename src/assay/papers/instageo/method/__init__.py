"""InstaGeo's parts: chips out of scenes, a segmentation model, students by depth, rasters and a map.

chips = ChipCreator(LocalScenes("scenes")).create("points.csv", "chips")
student = DepthDistiller(teacher, depth=1, reset=["head"]).fit(batches, epochs=20)
predictions = predict_rasters(student, chips, "predictions")
StaticMap(["water", "forest"]).export(predictions, "map")
"""

from .augment import Augmentation
from .chips import ChipCreator, paint_labels, read_raster, write_raster
from .cleaning import (
    ChipCleaner,
    buffer_labels,
    connected_groups,
    great_circle,
    kmeans_groups,
    limit_labels,
    split_groups,
)
from .cost import EnergyMeter, count_macs, count_parameters
from .dataset import ChipDataset, to_steps
from .distil import (
    Choice,
    DepthDistiller,
    DistillationLoss,
    RegressionDistillationLoss,
    choose_depth,
    class_weights,
    find_blocks,
    kept_blocks,
    prune,
)
from .encoder import HUB, PRITHVI, EncoderShape, PrithviEncoder, count_blocks, count_encoder, load_prithvi
from .head import SegmentationModel, UpsampleSegHead, channel_statistics, reset_head
from .label_rasters import LabelRaster, read_label_rasters
from .masks import FMASK_BITS, SCL_CLASSES, blank, observed, quality_mask
from .metrics import ConfusionMatrix, RocHistogram, ValueErrors
from .mgrs import mgrs_tiles, utm_zone
from .observations import Funnel, TimeSteps, group_observations
from .points import Columns, Points, read_points
from .predict import Predicted, merge_rasters, predict_rasters
from .scenes import (
    RADAR,
    BandFile,
    LocalScenes,
    Scene,
    SceneCatalog,
    SceneList,
    StacApi,
    StacTree,
    read_items,
)
from .webmap import StaticMap, distinct_colors

__all__ = [
    "FMASK_BITS",
    "HUB",
    "PRITHVI",
    "RADAR",
    "SCL_CLASSES",
    "Augmentation",
    "BandFile",
    "ChipCleaner",
    "ChipCreator",
    "ChipDataset",
    "Choice",
    "Columns",
    "ConfusionMatrix",
    "DepthDistiller",
    "DistillationLoss",
    "EncoderShape",
    "EnergyMeter",
    "Funnel",
    "LabelRaster",
    "LocalScenes",
    "Points",
    "Predicted",
    "PrithviEncoder",
    "RegressionDistillationLoss",
    "RocHistogram",
    "Scene",
    "SceneCatalog",
    "SceneList",
    "SegmentationModel",
    "StacApi",
    "StacTree",
    "StaticMap",
    "TimeSteps",
    "UpsampleSegHead",
    "ValueErrors",
    "blank",
    "buffer_labels",
    "channel_statistics",
    "choose_depth",
    "class_weights",
    "connected_groups",
    "count_blocks",
    "count_encoder",
    "count_macs",
    "count_parameters",
    "distinct_colors",
    "find_blocks",
    "great_circle",
    "group_observations",
    "kept_blocks",
    "kmeans_groups",
    "limit_labels",
    "load_prithvi",
    "merge_rasters",
    "mgrs_tiles",
    "observed",
    "paint_labels",
    "predict_rasters",
    "prune",
    "quality_mask",
    "read_items",
    "read_label_rasters",
    "read_points",
    "read_raster",
    "reset_head",
    "split_groups",
    "to_steps",
    "utm_zone",
    "write_raster",
]
