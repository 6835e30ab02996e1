/* The pin protocol (proto/shm.h), every interleaving of it. README.md beside this file has the
 * argument; `scripts/soak model` runs every line of pin.variants, which says what each variant is
 * and whether it must hold.
 *
 * NC clients pin records through counters of their own; one daemon publishes, evicts, clears and
 * reuses. Record 0 is a buffer; with ALIAS record 1 is an alias of it: own version, same bytes.
 *
 * The memory model is TSO made explicit for the stores that matter: a client's `count += 1` and the
 * daemon's retirement may stay in a store buffer (cbuf, dbuf) until `drain` or a fence writes it. A
 * seq_cst read-modify-write is one atomic step that leaves nothing in the buffer.
 *
 *   ver[r]    0: not ready; else the version, never reused: generation, + ALIAS_BIT of an alias
 *   gen[r]    what a client that knows this version was promised; a ghost, not in the protocol
 *   off[r]    which block: plain data, rewritten at every publish
 *   owner[b]  the generation whose bytes block b holds; 0: poisoned
 *   flag[i]   client i's bit for its one page of counters
 *   told[r]   a `released` is on its way to the daemon
 */
#ifndef NC
#define NC 2
#endif
#ifndef GENS
#define GENS 2
#endif
#ifndef TRIES
#define TRIES 2
#endif
#define NB 2
#define ALIAS_BIT 8
#ifdef ALIAS
#define NR 2
#else
#define NR 1
#endif

byte ver[NR];
byte gen[NR];
byte off[NR];
byte owner[NB];
byte cell[NC * NR];
bit flag[NC];
byte cbuf[NC]; /* 0, or 1 + the record whose count is to be stored */
byte dbuf;     /* 0, or 1 + the record whose retirement is to be stored */
bit dead[NC];
bit revoked[NC];
bit told[NR];
bit eof; /* a session has ended and the daemon has not looked yet */
bit finished;

#define CELL(i, r) cell[(i) * NR + (r)]

inline flush_client(i) {
  if
  :: cbuf[i] > 0 -> CELL(i, cbuf[i] - 1) = CELL(i, cbuf[i] - 1) + 1; cbuf[i] = 0
  :: else
  fi
}
inline flush_daemon() {
  if
  :: dbuf > 0 -> ver[dbuf - 1] = 0; dbuf = 0
  :: else
  fi
}

/* The hardware writes store buffers out when it likes. */
proctype drain() {
end:
  do
  :: d_step { dbuf > 0 -> flush_daemon() }
  :: d_step { cbuf[0] > 0 -> flush_client(0) }
#if NC > 1
  :: d_step { cbuf[1] > 0 -> flush_client(1) }
#endif
#if NC > 2
  :: d_step { cbuf[2] > 0 -> flush_client(2) }
#endif
  :: finished && dbuf == 0 -> break
  od
}

#ifdef CRASH
#define MAYBE_CRASH(i) if :: d_step { dead[i] = 1; eof = 1 }; goto gone :: skip fi
#else
#define MAYBE_CRASH(i) skip
#endif

proctype client(byte i) {
  byte v, g, o, n, r;
  bit last;
  do
  :: n == TRIES -> break
  :: n < TRIES ->
     n++;
     r = 0;
#ifdef ALIAS
     if :: r = 0 :: r = 1 fi;
#endif
     d_step { v = ver[r]; g = gen[r] };
     if
     :: v == 0 -> goto next
     :: else
     fi;
#ifdef READFIRST
     o = off[r];
#endif
#if !defined(FLAGLATE) && !defined(FLAGMIDDLE)
     flag[i] = 1; /* seq_cst RMW, before the first count */
#endif
     d_step { cbuf[i] = r + 1;
#ifndef NOFENCE_CLIENT
       flush_client(i)
#endif
     };
#ifdef FLAGMIDDLE
     flag[i] = 1;
#endif
     MAYBE_CRASH(i);
#ifndef NORECHECK
     if
     :: ver[r] != v ->
        /* a miss: the count goes back, and nobody is told */
        d_step { if :: cbuf[i] > 0 -> cbuf[i] = 0 :: else -> CELL(i, r) = CELL(i, r) - 1 fi };
#ifdef TELLMISS
        told[r] = 1;
#endif
        goto next
     :: ver[r] == v
     fi;
#endif
#ifdef FLAGLATE
     flag[i] = 1;
#endif
#ifndef READFIRST
     o = off[r];
#endif
     assert(owner[o] == g || revoked[i]);
     MAYBE_CRASH(i);
     assert(owner[o] == g || revoked[i]); /* still, later */
     d_step {
       if
       :: cbuf[i] > 0 -> cbuf[i] = 0
       :: else -> if :: CELL(i, r) > 0 -> CELL(i, r) = CELL(i, r) - 1 :: else fi
       fi;
       last = CELL(i, r) == 0
     };
     if
     :: last && ver[r] != v ->
#ifndef NOTELL
        told[r] = 1
#else
        skip
#endif
     :: else
     fi;
next: skip
  od;
gone: skip
}

/* retire, then scan: pinned = somebody holds record r */
inline scan(r) {
  pinned = 0;
#ifndef NOSCAN
  k = 0;
  do
  :: k < NC ->
#ifdef EARLYDROP
     if :: revoked[k] = 1 :: skip fi; /* a session is closed on a client that still runs */
#endif
     if
     :: dead[k] -> d_step { CELL(k, r) = 0; if :: cbuf[k] == r + 1 -> cbuf[k] = 0 :: else fi }
     :: else
     fi;
     if
     :: flag[k] && CELL(k, r) > 0 && !revoked[k] -> pinned = 1
     :: else
     fi;
     k++
  :: else -> break
  od
#endif
}
inline retire(r) {
#ifdef NOFENCE_DAEMON
  dbuf = r + 1
#else
  ver[r] = 0
#endif
}
inline retire_and_scan(r) {
#ifdef SCANFIRST
  scan(r);
  retire(r)
#else
  retire(r);
  scan(r)
#endif
}
/* Put back under the same version: a victim that is pinned. A pending retirement is overwritten in
 * the same store buffer. */
inline put_back(r, v) {
  d_step { if :: dbuf == r + 1 -> dbuf = 0 :: else fi; ver[r] = v }
}

/* Retired for good and pinned: wait until nobody pins it. */
inline wait_zombie(r) {
  do
  :: pinned == 0 -> break
  :: pinned && told[r] -> told[r] = 0; scan(r)
  :: pinned && eof -> eof = 0; scan(r)
#ifndef NOSWEEP
  :: pinned -> scan(r)
#endif
  od
}

proctype daemon() {
  byte u, b, k, v, va;
  bit pinned, has_alias;
  u = 1;
  do
  :: u > GENS -> break
  :: else ->
     v = u;
#ifdef REUSEVER
     v = 1;
#endif
     /* publish: bytes, fields, version; TSO keeps the order */
     owner[b] = u;
     off[0] = b;
     d_step { ver[0] = v; gen[0] = u };
     has_alias = 0;
#ifdef ALIAS
     if
     :: has_alias = 1; va = v + ALIAS_BIT; off[1] = b; d_step { ver[1] = va; gen[1] = u }
     :: skip
     fi;
#endif
again:
#ifdef ALIAS
     if
     :: has_alias ->
        retire_and_scan(1);
        if
        :: !pinned
        :: pinned -> /* evict: put back, and try again later */
#ifdef NOALIAS
           skip
#else
           put_back(1, va);
           goto again
#endif
        :: pinned -> /* clear: a zombie */
#if !defined(ALIASZOMBIE) && !defined(NOALIAS)
           wait_zombie(1)
#else
           skip
#endif
        fi;
        atomic { flush_daemon(); has_alias = 0 }
     :: else
     fi;
#endif
     retire_and_scan(0);
     if
     :: !pinned
     :: pinned -> put_back(0, v); goto again
     :: pinned -> wait_zombie(0)
     fi;
     atomic { flush_daemon() }; /* at the latest before the block is used again */
     owner[b] = 0;
     u++;
     if :: b = 0 :: b = 1 fi
  od;
  finished = 1
}

init {
  atomic {
    byte j;
    do
    :: j < NC -> run client(j); j++
    :: else -> break
    od;
    run daemon();
    run drain()
  }
}
