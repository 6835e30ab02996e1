/* For tests of the schedule: jobs that sleep, or block at a gate, instead of reading files. */
#ifndef BUFFERD_TEST_FAKE_JOB_H
#define BUFFERD_TEST_FAKE_JOB_H

#include "../../daemon/loader/assemble.h"

/* What a job does is in fields that mean something else to real ones:
 *   source     its name in the log of runs
 *   in_off     microseconds to sleep
 *   in_bytes   1: block until gate_open()
 *   out_bytes  1: leave a blob of 100 bytes; 2: leave a source
 *   file_off   becomes n_read_bytes of the result
 *   max_bytes  negated status */

/* Names in the order in which they ran. */
unsigned fake_n_runs(void);
unsigned fake_run(unsigned i);
/* Jobs in job_run now, and the most there have been at once. */
unsigned fake_n_running(void);
unsigned fake_most_running(void);
void fake_reset(void);

void gate_open(void);
/* Until n jobs block at the gate; false after 5 s. */
bool gate_wait(unsigned n);

unsigned fake_n_workers(void); /* worker_init less worker_deinit */
unsigned fake_n_sources_freed(void);
void fake_fail_worker_init(unsigned after); /* the so-many-th next one fails; 0: none */

#endif
