"""Work in a process of its own, so that what it leaves behind (memory, threads) weighs on nothing else."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

from autotagger.pipeline.child.base import die_with_the_parent

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer of a module-level function, from a fresh process. What it raises is raised here."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=die_with_the_parent) as pool:
        return pool.submit(function, *args, **kwargs).result()
