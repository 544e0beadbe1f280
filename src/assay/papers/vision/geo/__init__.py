"""Data that lie on the globe: rasters, satellite scenes, labelled points and chips on disk."""
