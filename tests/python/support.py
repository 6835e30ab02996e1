"""What several test files use: events, keys, figures."""

import warnings

import numpy as np

import bufferd
from bufferd import coffea as bufferd_coffea
from bufferd.files import file_uuid


def factory(path, cache, tree="Events", schema=None, **options):
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NanoEventsFactory.from_root(
            {str(path): tree},
            mode="virtual",
            buffer_cache=cache,
            schemaclass=schema or NanoAODSchema,
            **options,
        )


def buffer_keys(made):
    return bufferd_coffea.buffer_keys(made.events())


def key(path, form, start, stop, attribute="data", tree="%2FEvents%3B1"):
    quoted = form.replace(",", "%2C").replace("!", "%21")
    return f"{file_uuid(path)}/{tree}/{start}-{stop}/{attribute}/{quoted}"


def connection():
    return bufferd.node.node().require()


def plan_of(cache, name):
    """The cache's plan of a key, or None."""
    return cache._plugged().plan(name)


def figures():
    return bufferd.status()


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def offset_of(array):
    """Where an array's memory lies in the arena."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.offset
