"""Decision trees as plain arrays: taken from scikit-learn once, then read without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

DEEPEST = 1000
"""no tree from a file may be deeper"""
BYTES = 21
"""of a node, and 8 for each number that it answers"""
AT_ONCE = 1 << 20
"""objects times trees that are followed at once"""


@dataclass(frozen=True, eq=False)
class Trees:
    """Many trees, one after the other. A number goes left if it is no larger than the node's threshold."""

    root: np.ndarray
    """int32 [tree]: where a tree begins"""
    column: np.ndarray
    """int32 [node]: the column that is looked at"""
    threshold: np.ndarray
    """float64 [node]; a leaf has infinity"""
    left: np.ndarray
    """int32 [node]: the next node; a leaf has itself"""
    right: np.ndarray
    """int32 [node]"""
    missing_left: np.ndarray
    """bool [node]: where a missing number goes"""
    value: np.ndarray
    """float64 [node output]: what a leaf answers"""

    def leaves(self, values: np.ndarray) -> np.ndarray:
        """The leaf in which each object ends in each tree, int32 [object tree], of numbers [object column]."""
        rows = max(1, AT_ONCE // len(self.root))
        parts = [self._leaves(values[start : start + rows]) for start in range(0, len(values), rows)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.root)), dtype=np.int32)

    def _leaves(self, values: np.ndarray) -> np.ndarray:
        node = np.broadcast_to(self.root, (len(values), len(self.root)))
        rows = np.arange(len(values))[:, None]
        while True:
            number = values[rows, self.column[node]]
            go_left = np.where(np.isnan(number), self.missing_left[node], number <= self.threshold[node])
            then = np.where(go_left, self.left[node], self.right[node])
            if (then == node).all():
                return then
            node = then

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays, from which `from_arrays` makes them again."""
        return {f"tree_{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], columns: int) -> Trees:
        """Make them from the arrays of `to_arrays`; the trees look at so many columns.

        Raises
        ------
        ValueError, KeyError
            They are not such arrays: no way through them may leave them, or go round.
        """
        trees = cls(**{field.name: np.asarray(arrays[f"tree_{field.name}"]) for field in fields(cls)})
        nodes = len(trees.column)
        kinds = ("int32", "int32", "float64", "int32", "int32", "bool", "float64")
        for field, kind in zip(fields(cls), kinds, strict=True):
            array = getattr(trees, field.name)
            flat = array.ndim == (2 if field.name == "value" else 1)
            if array.dtype != kind or not flat or (field.name != "root" and len(array) != nodes):
                raise ValueError(f"the trees' {field.name} has another form")
        leaf = trees.left == np.arange(nodes)
        inside = [trees.root, trees.left, trees.right]
        if not nodes or not len(trees.root) or any(a.min() < 0 or a.max() >= nodes for a in inside):
            raise ValueError("a tree leads to a node that is not there")
        if trees.column.min() < 0 or trees.column.max() >= columns:
            raise ValueError("a tree looks at a number that is not there")
        later = (trees.left > np.arange(nodes)) & (trees.right > np.arange(nodes))
        if not (later | (leaf & (trees.right == trees.left))).all():
            raise ValueError("a tree goes round")
        if not np.isfinite(trees.value).all() or np.isnan(trees.threshold).any():
            raise ValueError("a tree holds a number that is not finite")
        trees._require_depth()
        return trees

    def _require_depth(self) -> None:
        nodes = np.unique(self.root)
        for _ in range(DEEPEST):
            nodes = nodes[self.left[nodes] != nodes]
            if not len(nodes):
                return
            nodes = np.unique(np.concatenate([self.left[nodes], self.right[nodes]]))
        raise ValueError(f"a tree is deeper than {DEEPEST} nodes")


def forest_trees(estimators: Sequence[Any], classes: int) -> Trees:
    """The trees of a scikit-learn forest; a leaf answers with the shares of the classes, which are 0, 1, ..."""
    parts = []
    for estimator in estimators:
        tree = estimator.tree_
        shares = np.zeros((tree.node_count, classes))
        shares[:, estimator.classes_.astype(int)] = tree.value[:, 0]
        shares /= shares.sum(1, keepdims=True)
        leaf = tree.children_left < 0
        parts.append((leaf, tree.feature, tree.threshold, tree.children_left, tree.children_right, leaf, shares))
    return _joined(parts)


def boosted_trees(predictors: Sequence[Any]) -> Trees:
    """The trees of scikit-learn's histogram boosting; a leaf answers with what it adds to a class."""
    parts = []
    for predictor in predictors:
        n = predictor.nodes
        leaf = n["is_leaf"].astype(bool)
        threshold, missing = n["num_threshold"], n["missing_go_to_left"].astype(bool)
        parts.append((leaf, n["feature_idx"], threshold, n["left"], n["right"], missing, n["value"][:, None]))
    return _joined(parts)


def _joined(parts: Sequence[tuple[np.ndarray, ...]]) -> Trees:
    """Put trees one after the other: each is (leaf, column, threshold, left, right, missing_left, value)."""
    sizes = [len(part[0]) for part in parts]
    root = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    start = np.repeat(root, sizes)
    leaf, column, threshold, left, right, missing, value = (np.concatenate(each) for each in zip(*parts, strict=True))
    own = np.arange(len(leaf))
    return Trees(
        root.astype(np.int32),
        np.where(leaf, 0, column).astype(np.int32),
        np.where(leaf, np.inf, threshold).astype(np.float64),
        np.where(leaf, own, start + left).astype(np.int32),
        np.where(leaf, own, start + right).astype(np.int32),
        leaf | missing,
        value.astype(np.float64),
    )
