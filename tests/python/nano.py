"""NanoAOD-like files made with uproot: flat and jagged branches, several baskets, four codecs."""

import awkward as ak
import numpy as np
import uproot

CODECS = ("zlib", "lz4", "zstd", "lzma")
TREE = "Events"
N_PARTS, N_EACH = 5, 400
N_ENTRIES = N_PARTS * N_EACH


def _jagged(rng, counts, **makers):
    total = int(counts.sum())
    return ak.zip({name: ak.unflatten(make(rng, total), counts) for name, make in makers.items()})


def _f4(rng, n):
    return rng.exponential(30, n).astype("f4")


def _events(rng, n):
    n_jet, n_muon = rng.poisson(3, n), rng.poisson(2, n)
    index = ak.unflatten(rng.integers(-1, 4, int(n_jet.sum())).astype("i4"), n_jet)
    jets = _jagged(
        rng, n_jet, pt=_f4, eta=_f4, phi=_f4, mass=_f4, jetId=lambda r, k: r.integers(0, 7, k, "i4")
    )
    jets = ak.with_field(jets, index, "muonIdx1")
    muons = _jagged(
        rng,
        n_muon,
        pt=_f4,
        eta=_f4,
        phi=_f4,
        mass=_f4,
        charge=lambda r, k: r.choice(np.array([-1, 1], "i4"), k),
        tightId=lambda r, k: r.random(k) < 0.5,
        cleanmask=lambda r, k: r.integers(0, 255, k, "u1"),
    )
    return {
        "run": np.full(n, 1, "u4"),
        "luminosityBlock": rng.integers(1, 9, n).astype("u4"),
        "event": np.arange(n, dtype="u8"),
        "MET_pt": _f4(rng, n),
        "MET_phi": _f4(rng, n),
        "HLT_IsoMu24": rng.random(n) < 0.3,
        "genWeight": rng.normal(0, 1, n),
        "Jet": jets,
        "Muon": muons,
    }


def make(path, codec="zstd", n_parts=N_PARTS, n_each=N_EACH, seed=1):
    compression = {"zlib": uproot.ZLIB, "lz4": uproot.LZ4, "zstd": uproot.ZSTD, "lzma": uproot.LZMA}
    rng = np.random.default_rng(seed)
    with uproot.recreate(str(path), compression=compression[codec](1)) as f:
        for _ in range(max(n_parts, 1)):
            events = _events(rng, n_each)
            if TREE not in f:
                types = {k: v.type.content if hasattr(v, "layout") else v.dtype for k, v in events.items()}
                f.mktree(TREE, types, counter_name=lambda name: "n" + name)
            if n_parts:
                f[TREE].extend(events)
    return str(path)
