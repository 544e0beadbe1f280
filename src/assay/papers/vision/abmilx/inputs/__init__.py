"""Bags from tables, folders of pictures, whole slides, files of features and LMDB files."""
