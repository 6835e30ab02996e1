"""One analysis process of the demo: dimuon mass and jet pt with coffea, through bufferd or without.

Prints one line of JSON: seconds, what the daemon did meanwhile, and the histograms.
"""

import argparse
import json
import time
import warnings

import awkward as ak
import hist
import numpy as np
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

import bufferd

warnings.filterwarnings("ignore", message="Missing cross-reference")

COUNTED = ("buffers_made", "baskets_decoded", "bytes_unpacked")


def open_events(path, tree, cache):
    factory = NanoEventsFactory.from_root(
        {path: tree}, schemaclass=NanoAODSchema, mode="virtual", buffer_cache=cache
    )
    return factory.events()


def columns(events):
    """The arrays that analyse() reads, for prefetch and clear."""
    muon, jet = events.Muon, events.Jet
    fields = [muon[f] for f in ("pt", "eta", "phi", "mass", "charge", "tightId", "pfRelIso04_all")]
    return fields + [jet[f] for f in ("pt", "eta", "jetId")] + [events.genWeight]


def analyse(events):
    """Histograms of the dimuon mass (GeV) and of the jets' pt (GeV), weighted."""
    mass = hist.Hist.new.Reg(120, 60, 120, name="mass", label="m(µµ) [GeV]").Weight()
    jet_pt = hist.Hist.new.Reg(47, 30, 500, name="pt", label="jet pT [GeV]").Weight()
    weight = np.sign(events.genWeight)

    muons = events.Muon
    muons = muons[
        (muons.pt > 20) & (abs(muons.eta) < 2.4) & muons.tightId & (muons.pfRelIso04_all < 0.15)
    ]
    pairs = ak.combinations(muons, 2, fields=["first", "second"])
    pairs = pairs[pairs.first.charge != pairs.second.charge]
    masses = (pairs.first + pairs.second).mass
    masses, weights = ak.broadcast_arrays(masses, weight)
    mass.fill(ak.to_numpy(ak.flatten(masses)), weight=ak.to_numpy(ak.flatten(weights)))

    jets = events.Jet
    jets = jets[(jets.pt > 30) & (abs(jets.eta) < 2.4) & (jets.jetId >= 2)]
    pts, weights = ak.broadcast_arrays(jets.pt, weight)
    jet_pt.fill(ak.to_numpy(ak.flatten(pts)), weight=ak.to_numpy(ak.flatten(weights)))
    return {"mass": mass, "jet_pt": jet_pt}


def run(args):
    cache = None
    if args.mode != "alone":
        cache = bufferd.BufferCache([args.file], socket=args.socket)
    events = open_events(args.file, args.tree, cache)
    if args.mode != "prefetch":
        return analyse(events), events
    manager = bufferd.BufferManager(events)
    with manager.prefetch(*columns(events), nthreads=2):
        return analyse(events), events


def shared_bytes(events):
    """Bytes of the read-only arrays that back the analysis' columns."""
    seen = {}
    for a in columns(events):
        for buffer in ak.to_buffers(ak.materialize(a))[2].values():
            buffer = np.asarray(buffer)
            if not buffer.flags.writeable and buffer.nbytes:
                seen[buffer.__array_interface__["data"][0]] = buffer.nbytes
    return sum(seen.values())


def cached(socket):
    """Bytes of the arena that hold buffers."""
    return bufferd.status(socket=socket)["arena_live_bytes"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("file")
    p.add_argument("--tree", default="Events")
    p.add_argument("--socket")
    p.add_argument("--mode", choices=["alone", "cache", "prefetch"], default="cache")
    p.add_argument("--clear", action="store_true", help="clear the columns at the end")
    args = p.parse_args()

    before = bufferd.status(socket=args.socket)
    started = time.perf_counter()
    histograms, events = run(args)
    out = {"seconds": time.perf_counter() - started}
    after = bufferd.status(socket=args.socket)
    out |= {name: after[name] - before[name] for name in COUNTED}
    out["histograms"] = {
        name: {
            "values": h.values().tolist(),
            "variances": h.variances().tolist(),
            "edges": h.axes[0].edges.tolist(),
            "label": h.axes[0].label,
        }
        for name, h in histograms.items()
    }
    out["bytes_shared"] = shared_bytes(events) if args.mode != "alone" else 0
    out["cached"] = cached(args.socket)
    if args.clear:
        bufferd.BufferManager(events).clear(*columns(events))
        out["cached_after_clear"] = cached(args.socket)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
