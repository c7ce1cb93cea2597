"""Lines that are wrong on purpose, and what the road must answer to each of them.

A kind of fault is a row of a table: `values` has those of one value, `spelling` those of a whole
line, `pairs` those that two lines make together, `prices` those that only a history can tell.
Which fields a kind can hit follows from the declared types, keys and checks. `inject` strews them
over a dataset, `truth` keeps the answers.
"""
