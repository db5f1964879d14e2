"""Strategies: which blocks train. One a file, one registry line each.

A strategy is a function ``(blocks, depth) -> range``: given how many blocks a network has, and a depth, it says which
blocks (by index, in forward order) are trained together with the head.
"""
