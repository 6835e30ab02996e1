/* The daemon's options: presets < file < flags, all from one table (config.def). */
#ifndef BUFFERD_CONFIG_H
#define BUFFERD_CONFIG_H

#include <stdio.h>

#include "../proto/base.h"
#include "log.h"

enum {
    CONFIG_E_HELP = 1,    /* --help was asked for */
    CONFIG_E_VERSION = 2, /* --version */
    CONFIG_E_USAGE = 3,   /* `error` says which option is wrong, and where */
};

#define CONFIG_ERROR_BYTES 1024

#define CONFIG_TYPE_TEXT char *
#define CONFIG_TYPE_SIZE uint64_t
#define CONFIG_TYPE_COUNT uint64_t
#define CONFIG_TYPE_LEVEL enum log_level
#define CONFIG_TYPE_WORD char *

struct config {
#define CONFIG(kind, field, flag, argument, preset, min, max, help) CONFIG_TYPE_##kind field;
#include "config.def"
#undef CONFIG
    bool socket_is_default; /* its directory is the daemon's to make */
};

/* Return: 0, CONFIG_E_* (`error` of CONFIG_ERROR_BYTES is filled by USAGE alone), or negative
 * errno.
 */
int config_load(struct config *c, int argc, char **argv, char *error);
void config_deinit(struct config *c);

void config_print_help(FILE *out);

#endif
