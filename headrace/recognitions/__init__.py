"""Datasets of recognitions: two photos of a tray, its check, its menu and what a model detected.

Photos go to an object store and rows into a database, together or not at all. `loading` is the
road on one page.
"""
