"""Guesses at which calls seed or draw from a global random generator (of `random`, NumPy, torch). Standard library only.

A call that is given a generator or a seed of its own draws from nothing global. What is missed here is seen when the step
runs (`runtime/ambient.py`); what is found makes edges before.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Set

_SEEDS = frozenset({"setstate", "set_state", "set_rng_state"})
# Functions and methods that draw, whoever they belong to.
_DRAWS = frozenset("shuffle sample rand randn randint choice choices permutation train_test_split resample bootstrap".split())
# What comes of these depends on all draws before, too.
_LOOKS = frozenset({"getstate", "get_state", "get_rng_state"})
# Classes and functions that draw unless they are given `random_state`, at once or when they are fitted.
_DRAWS_UNLESS_GIVEN = frozenset(
    "KMeans MiniBatchKMeans BisectingKMeans SpectralClustering GaussianMixture BayesianGaussianMixture TSNE NMF FastICA "
    "LatentDirichletAllocation TruncatedSVD MDS RandomForestClassifier RandomForestRegressor ExtraTreesClassifier "
    "ExtraTreesRegressor ExtraTreeClassifier ExtraTreeRegressor DecisionTreeClassifier DecisionTreeRegressor "
    "GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier HistGradientBoostingRegressor "
    "AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor IsolationForest RandomTreesEmbedding "
    "MLPClassifier MLPRegressor BernoulliRBM SGDClassifier SGDRegressor Perceptron PassiveAggressiveClassifier "
    "RandomizedSearchCV ShuffleSplit StratifiedShuffleSplit GroupShuffleSplit RepeatedKFold RepeatedStratifiedKFold "
    "RANSACRegressor Nystroem RBFSampler GaussianRandomProjection SparseRandomProjection permutation_importance "
    "make_classification make_regression make_blobs make_moons make_circles make_friedman1 make_swiss_roll "
    "random_split RandomSampler WeightedRandomSampler Linear Conv1d Conv2d Embedding LSTM GRU RNN Dropout UMAP".split()
)
# These draw only if they are told to shuffle.
_DRAWS_IF_SHUFFLED = frozenset("KFold StratifiedKFold GroupKFold StratifiedGroupKFold DataLoader".split())
_MAY_DRAW = _DRAWS | _LOOKS | _DRAWS_UNLESS_GIVEN | _DRAWS_IF_SHUFFLED
_OWN = frozenset("random_state seed rng generator random_seed gen".split())
# What of a module `random` makes a generator of one's own, or only names a type.
_MAKES_OWN = frozenset("default_rng RandomState Generator SeedSequence Random SystemRandom PCG64 MT19937 Philox".split())


def seeds(call: ast.Call, name: str) -> bool:
    """True if a call, of a function of this name, sets the state of a global generator."""
    return "seed" in name or name in _SEEDS


def draws(call: ast.Call, name: str, own: Set[str]) -> bool:
    """True if a call may draw from a global generator. `own` are the variables that hold a generator."""
    if name not in _MAY_DRAW:
        return False
    if name in _LOOKS and not isinstance(call.func, ast.Name) and name != "get_rng_state":
        return False  # `reaches_generator` knows the modules'; others have states of their own
    given = {k.arg: k.value for k in call.keywords}
    if any(key in _OWN and not (isinstance(value, ast.Constant) and value.value is None) for key, value in given.items()):
        return False
    if name in _DRAWS_IF_SHUFFLED:
        shuffle = given.get("shuffle")
        return shuffle is not None and not (isinstance(shuffle, ast.Constant) and not shuffle.value)
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    return not (isinstance(receiver, ast.Name) and receiver.id in own)


def reaches_generator(attributes: Collection[ast.Attribute], own: Set[str]) -> bool:
    """True if one of these attributes is what a module of random numbers draws: `np.random.normal`, `random.gauss`.

    `np.random` by itself counts where it is handed on, but not as the holder of `np.random.default_rng`.
    """
    for node in attributes:
        if node.attr == "random" or getattr(node.value, "id", "") == "random":
            break
    else:
        return False
    holders = {id(node.value) for node in attributes}
    return any(_draws(node, own) for node in attributes if not (node.attr == "random" and id(node) in holders))


def _draws(node: ast.Attribute, own: Set[str]) -> bool:
    if node.attr in _MAKES_OWN or node.attr.startswith(("seed", "set_state", "setstate")):
        return False
    holder = node.value
    if isinstance(holder, ast.Name):
        return holder.id not in own and "random" in (holder.id, node.attr)
    return isinstance(holder, ast.Attribute) and holder.attr == "random"
