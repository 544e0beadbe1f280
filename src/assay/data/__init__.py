"""Data: the readers of users' files, where data comes from, and the tables that it becomes.

Importing this package loads nothing heavy.
"""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.data.archives import Archive as Archive, Member as Member, open_archive as open_archive
    from assay.data.arrays import read_arrays as read_arrays, read_tensors as read_tensors
    from assay.data.dates import parse_dates as parse_dates
    from assay.data.delimited import (
        TextRows as TextRows,
        missing_column as missing_column,
        read_rows as read_rows,
    )
    from assay.data.frames import read_frame as read_frame
    from assay.data.json_text import (
        read_json_file as read_json_file,
        read_json_lines as read_json_lines,
        read_records as read_records,
    )
    from assay.data.paths import (
        existing_file as existing_file,
        existing_folder as existing_folder,
        files_in as files_in,
        hash_file as hash_file,
        hash_folder as hash_folder,
    )
    from assay.data.pictures import PICTURES as PICTURES, read_picture as read_picture
    from assay.data.sound import (
        SOUNDS as SOUNDS,
        read_sound as read_sound,
        resample as resample,
        to_mono as to_mono,
    )
    from assay.data.source import File as File, Folder as Folder, Rows as Rows, Table as Table
    from assay.data.table import (
        DataWarning as DataWarning,
        LoadedTable as LoadedTable,
        require_classes as require_classes,
    )
    from assay.data.text import read_text as read_text
else:
    __getattr__, __dir__ = lazy.attach(__name__)
