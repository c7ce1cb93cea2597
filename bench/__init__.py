"""Benchmarks: `python -m bench.run` compares loaders, bench.stages and bench.gin look inside.

bench.anomalies scores the price watch, bench.history_lengths measures its constants.
"""
