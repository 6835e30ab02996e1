"""BufferCache under coffea: the same bytes as without it, in one process and in several."""

import warnings

import nano
import numpy as np
import pytest
from conftest import run_python
from support import buffer_keys, factory, figures, plan_of, same

import bufferd

pytest.importorskip("coffea")
import awkward as ak  # noqa: E402

SAMPLES = [
    "nano_dy.root",
    "nano_dy_empty.root",
    "nano_dimuon.root",
    "nano_tt_v12.root",
    "nanoAOD_2015_CMS_Open_Data_ttbar.root",
    "nano_dy_SpecialTree.root",
    "pfnano.root",
    "nano_dimuon_rntuple.root",
]
TREES = {"nano_dy_SpecialTree.root": "NotEvents"}


def compare(path, tree="Events", **options):
    """Every buffer of every field, against coffea's own. Returns (keys, native ones)."""
    theirs, ours = factory(path, {}, tree, **options), factory(path, None, tree, **options)
    cache = ours._mapping._buffer_cache = bufferd.BufferCache(path)
    n_native = 0
    keys = buffer_keys(theirs)
    for key in keys:
        expected = theirs._mapping[key]()
        made = ours._mapping[key]()  # a hit, or coffea's own and then put
        cached = cache.get(key)
        assert same(expected, made), key
        assert same(expected, cached), key
        assert not cached.flags.writeable or key in cache._local.keys(), key
        n_native += plan_of(cache, key).is_native
    return len(keys), n_native


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_key_of_a_sample(daemon, corpus, sample):
    if corpus is None:
        pytest.skip("no corpus")
    n, n_native = compare(corpus / sample, TREES.get(sample, "Events"))
    print(f"{sample}: {n_native} of {n} keys native")
    if "rntuple" not in sample:
        assert n_native >= 0.9 * n


def test_every_key_of_a_made_file(daemon, made_file):
    n, n_native = compare(made_file)
    print(f"{n_native} of {n} keys native")
    assert n_native >= 0.7 * n
    compare(made_file, entry_start=150, entry_stop=1234)


def test_what_coffea_makes_is_made_once(daemon, fresh_file):
    one, two = bufferd.BufferCache(fresh_file), bufferd.BufferCache(fresh_file)
    first, second = factory(fresh_file, one), factory(fresh_file, two, access_log=[])
    for key in buffer_keys(first):
        first._mapping[key]()
    n_put = figures()["buffers_put"]
    for key in buffer_keys(second):
        assert np.shares_memory(second._mapping[key](), one.get(key)), key
    assert second.access_log == []
    assert figures()["buffers_put"] == n_put


# ---- an analysis ----

ANALYSIS = """
    import json, sys, warnings
    warnings.filterwarnings("ignore", module="coffea")
    import awkward as ak, numpy as np
    import bufferd
    from support import factory, offset_of

    def analyze(events):
        jets, muons = events.Jet, events.Muon
        good = jets[(jets.pt > 20) & (abs(jets.eta) < 60)]
        pairs = ak.combinations(muons, 2, fields=["a", "b"])
        mass = np.sqrt(2 * pairs.a.pt * pairs.b.pt * (1 + np.cos(pairs.a.phi - pairs.b.phi)))
        return (
            np.histogram(ak.to_numpy(ak.flatten(good.pt)), 50, (0, 200))[0].tolist()
            + np.histogram(ak.to_numpy(ak.flatten(mass)), 50, (0, 200))[0].tolist()
            + np.histogram(ak.to_numpy(events.MET.pt), 50, (0, 200))[0].tolist()
        )
"""


def analysis(path, code="", **env):
    import os

    return run_python(
        ANALYSIS + code,
        path,
        cwd=os.path.dirname(__file__),
        env={**os.environ, **env},
    )


PLAIN = """
    cache = bufferd.BufferCache(sys.argv[1])
    made = factory(sys.argv[1], cache)
    hist = analyze(made.events())
    offsets = {k: offset_of(cache[k]) for k in cache if not k in cache._local.keys()}
    print(json.dumps({"hist": hist, "offsets": offsets}))
"""

REFERENCE = """
    print(json.dumps({"hist": analyze(factory(sys.argv[1], {}).events())}))
"""


def test_a_second_process_decodes_nothing_and_shares_pages(daemon, fresh_file):
    reference = analysis(fresh_file, REFERENCE)
    first = analysis(fresh_file, PLAIN)
    decoded = figures()["baskets_decoded"]
    made = figures()["buffers_made"]
    second = analysis(fresh_file, PLAIN)
    assert first["hist"] == second["hist"] == reference["hist"]
    assert first["offsets"] == second["offsets"] and len(first["offsets"]) == 7
    assert figures()["baskets_decoded"] == decoded
    assert figures()["buffers_made"] == made


def test_two_processes_at_once_decode_each_basket_once(own_daemon, fresh_file):
    import concurrent.futures

    own_daemon()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: analysis(fresh_file, PLAIN), range(2))
    assert one["hist"] == two["hist"] and one["offsets"] == two["offsets"]
    import uproot

    tree = uproot.open(fresh_file)["Events"]
    columns = {key.rsplit("/", 1)[1].split("%2C")[0] for key in one["offsets"]}
    baskets = sum(tree[name].num_baskets for name in columns)
    assert bufferd.status()["baskets_decoded"] <= baskets


KILLED = """
    import os, signal
    cache = bufferd.BufferCache(sys.argv[1])
    made = factory(sys.argv[1], cache)
    events = made.events()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        held = ak.to_numpy(events.MET.pt)
        before = held.copy()
        ak.sum(events.Jet.pt)
        os.kill(int(sys.argv[2]), signal.SIGKILL)
        hist = analyze(events)
        again = analyze(factory(sys.argv[1], bufferd.BufferCache(sys.argv[1])).events())
    said = [str(w.message) for w in caught if "bufferd" in str(w.message)]
    print(json.dumps({"hist": hist, "again": again, "said": said,
                      "held": bool((held == before).all())}))
"""


def test_a_daemon_killed_in_the_middle_of_an_analysis(own_daemon, fresh_file):
    import os

    daemon = own_daemon()
    reference = analysis(fresh_file, REFERENCE)
    out = run_python(
        ANALYSIS + KILLED, fresh_file, daemon.process.pid, cwd=os.path.dirname(__file__)
    )
    assert out["hist"] == out["again"] == reference["hist"]
    assert out["held"]
    assert len(out["said"]) == 1, out["said"]


def test_no_daemon_at_all(no_daemon, fresh_file):
    out = analysis(
        fresh_file,
        """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hist = analyze(factory(sys.argv[1], bufferd.BufferCache(sys.argv[1])).events())
        analyze(factory(sys.argv[1], bufferd.BufferCache(sys.argv[1])).events())
    said = [str(w.message) for w in caught if "bufferd" in str(w.message)]
    print(json.dumps({"hist": hist, "said": said}))
""",
    )
    assert out["hist"] == analysis(fresh_file, REFERENCE)["hist"]
    assert len(out["said"]) == 1, out["said"]


def test_a_full_daemon_is_a_miss(own_daemon, tmp_path):
    own_daemon(memory="32M")
    path = nano.make(tmp_path / "large.root", "lz4", n_parts=4, n_each=300_000)
    cache = bufferd.BufferCache(path)
    events = factory(path, cache).events()
    reference = factory(path, {}).events()
    for name in events.Jet.fields:
        held = events.Jet[name]
        assert ak.all(held == reference.Jet[name])


def test_arrays_held_fill_the_daemon_and_nothing_fails(own_daemon, tmp_path):
    own_daemon(memory="32M")
    path = nano.make(tmp_path / "large.root", "lz4", n_parts=4, n_each=300_000)
    cache = bufferd.BufferCache(path)
    made, reference = factory(path, cache), factory(path, {})
    held = {key: made._mapping[key]() for key in buffer_keys(made)}
    for key, array in held.items():
        assert same(array, reference._mapping[key]()), key


def test_the_runner_with_a_cache_for_each_chunk(daemon, fresh_file):
    import functools

    from coffea import processor
    from coffea.nanoevents import NanoAODSchema

    class Sum(processor.ProcessorABC):
        def process(self, events):
            return {"sum": float(ak.sum(events.Jet.pt)), "n": len(events)}

        def postprocess(self, accumulator):
            return accumulator

    def run(strategy):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return processor.Runner(
                processor.IterativeExecutor(status=False),
                schema=NanoAODSchema,
                chunksize=700,
                cachestrategy=strategy,
            )({"data": {"files": {fresh_file: "Events"}}}, processor_instance=Sum())

    expected = run(None)
    strategy = functools.partial(bufferd.BufferCache, {"data": {"files": {fresh_file: "Events"}}})
    assert run(strategy) == expected
    decoded = figures()["baskets_decoded"]
    assert run(strategy) == expected
    assert figures()["baskets_decoded"] == decoded
