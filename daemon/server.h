/* The daemon: builds all parts, runs the loop, takes all down. The only file that sees all. */
#ifndef BUFFERD_SERVER_H
#define BUFFERD_SERVER_H

#include "arena/backing.h"
#include "config.h"
#include "log.h"

/* Serve until SIGTERM, SIGINT or the idle exit. Config and log are borrowed; the backing is taken
 * over in any case. What went wrong is in the log. Return: the exit code. */
int server_run(const struct config *config, struct log *log, struct backing *backing);

#endif
