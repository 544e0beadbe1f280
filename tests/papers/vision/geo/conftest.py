"""A small region on disk and its chips."""

from papers.vision.instageo.conftest import cut as cut, edit_item as edit_item, region as region
