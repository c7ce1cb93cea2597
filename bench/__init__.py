"""Benchmarks: `python -m bench.run` compares loaders, bench.stages and bench.gin look inside."""
