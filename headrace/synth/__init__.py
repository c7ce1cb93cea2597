"""The data generator: realistic, exactly repeatable merchants' data, as fast as a disk takes it.

Columns are drawn as numpy arrays and set side by side as one matrix of bytes a block of records
(see `cells`); no record is ever a Python object.
"""
