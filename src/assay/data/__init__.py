"""Data: where it comes from, and the tables that it becomes. Importing this package loads nothing heavy."""

from assay.data.source import File, Folder, Rows, Table
from assay.data.table import LoadedTable, require_classes

__all__ = ["File", "Folder", "LoadedTable", "Rows", "Table", "require_classes"]
