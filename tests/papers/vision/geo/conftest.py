"""A small region on disk."""

from papers.vision.instageo.conftest import edit_item as edit_item, region as region
