"""BufferManager: clear and prefetch."""

import gc
import time

import nano
import pytest
from support import connection, factory, figures

import bufferd

pytest.importorskip("coffea")
import awkward as ak  # noqa: E402


@pytest.fixture
def events(daemon, fresh_file):
    return factory(fresh_file, bufferd.BufferCache()).events()


@pytest.fixture
def manager(events):
    return bufferd.BufferManager(events)


# ---- wrong use ----


@pytest.mark.parametrize("bad", [None, 3, "events", [1, 2], {}])
def test_what_is_no_array_is_a_type_error(manager, bad):
    with pytest.raises(TypeError):
        bufferd.BufferManager(bad)
    with pytest.raises(TypeError):
        manager.clear(bad)
    with pytest.raises(TypeError):
        manager.prefetch(bad)


def test_arrays_that_coffea_did_not_make(daemon):
    with pytest.raises(ValueError):
        bufferd.BufferManager(ak.Array([1, 2]))


@pytest.mark.parametrize("cache", [None, {}])
def test_events_without_our_cache(daemon, fresh_file, cache):
    with pytest.raises(ValueError):
        bufferd.BufferManager(factory(fresh_file, cache).events())


def test_events_that_are_not_virtual(daemon, fresh_file):
    from coffea.nanoevents import NanoEventsFactory

    made = NanoEventsFactory.from_root(
        {fresh_file: "Events"}, mode="eager", buffer_cache=bufferd.BufferCache(), entry_stop=5
    )
    with pytest.raises(ValueError):
        bufferd.BufferManager(made.events())


@pytest.mark.parametrize("nthreads", [0, -1])
def test_no_threads(manager, events, nthreads):
    with pytest.raises(ValueError):
        manager.prefetch(events.MET.pt, nthreads=nthreads)


# ---- attach ----


def test_making_a_manager_makes_the_file_known(daemon, fresh_file):
    cache = bufferd.BufferCache()
    events = factory(fresh_file, cache).events()
    ak.sum(events.MET.pt)
    assert figures_made(cache) == 0
    bufferd.BufferManager(events)
    ak.sum(events.MET.phi)
    assert figures_made(cache) == 1


def figures_made(cache):
    return sum("derived" not in e["key"] for e in connection().session.ls("column/*"))


# ---- prefetch ----


def test_prefetch_loads_what_the_analysis_then_finds(events, manager):
    with manager.prefetch(events.Jet.pt, events.Jet.eta, events.MET, nthreads=2) as scope:
        done = scope.wait(timeout=10)
        assert done["n_ready"] == done["n_total"] == 5  # two of Jet with its offsets, two of MET
        assert done["failures"] == []
        made, decoded = figures()["buffers_made"], figures()["baskets_decoded"]
        total = ak.sum(events.Jet.pt) + ak.sum(events.MET.pt)
        assert figures()["buffers_made"] == made
        assert figures()["baskets_decoded"] == decoded
    assert total > 0


def test_prefetch_reads_no_data_in_this_process(events, manager, fresh_file):
    before = figures()["buffers_put"]
    with manager.prefetch(events.Jet, events.Muon):
        pass
    assert figures()["buffers_put"] == before


def test_prefetch_leaves_out_what_only_coffea_can_make(events, manager):
    with manager.prefetch(events.Jet.muonIdx1G) as scope:
        assert scope.status()["n_total"] == 1  # the offsets


def test_leaving_a_prefetch_cancels(events, manager):
    with manager.prefetch(events, nthreads=1) as scope:
        pass
    assert scope.status()["n_total"] == 0
    with pytest.raises(RuntimeError), manager.prefetch(events):
        raise RuntimeError


def test_prefetch_without_a_daemon(own_daemon, fresh_file):
    daemon = own_daemon()
    events = factory(fresh_file, bufferd.BufferCache()).events()
    manager = bufferd.BufferManager(events)
    jets = events.Jet.pt
    daemon.kill()
    with pytest.warns(RuntimeWarning, match="bufferd"):
        with manager.prefetch(jets, events.MET.pt) as scope:
            assert scope.wait()["n_ready"] == 0
            assert ak.sum(events.MET.pt) > 0
    assert manager.clear(events.MET.pt).freed.buffers == 1


# ---- clear ----


def test_clear_frees_what_nobody_uses(events, manager):
    ak.sum(events.MET.pt)
    before = ak.sum(events.MET.pt)
    outcome = manager.clear(events.MET.pt)
    assert outcome.freed == (1, 4 * nano.N_ENTRIES)
    assert outcome["freed"] == outcome.freed
    assert sum(amount.buffers for amount in outcome.values()) == 1
    assert ak.sum(events.MET.pt) == before  # loaded again


def test_clear_of_what_is_held(events, manager):
    held = ak.to_numpy(events.MET.pt)
    before = held.copy()
    outcome = manager.clear(events.MET.pt)
    assert outcome.held_by_you.buffers == 1
    assert (held == before).all()
    del held
    gc.collect()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and connection().session.ls("*MET_pt*"):
        time.sleep(0.01)
    assert connection().session.ls("*MET_pt*") == []


def test_clear_of_a_jagged_array_and_its_offsets(events, manager):
    ak.sum(events.Jet.pt)
    outcome = manager.clear(events.Jet.pt)
    assert outcome.freed.buffers == 1
    assert outcome.held_by_you.buffers == 1  # the offsets, which the events keep


def test_clear_of_what_was_never_read(events, manager):
    assert manager.clear(events.MET.phi).not_there.buffers == 1
    assert sum(amount.bytes for amount in manager.clear(events.MET.phi).values()) == 0
    assert sum(amount.buffers for amount in manager.clear().values()) == 0


def test_clear_of_what_coffea_made(events, manager):
    def made():
        return {b["key"] for b in connection().session.ls("derived/*local2global*")}

    before = made()  # other tests' files have such keys too
    ak.sum(events.Jet.muonIdx1G)
    assert made() > before
    manager.clear(events.Jet.muonIdx1G)
    assert made() == before
