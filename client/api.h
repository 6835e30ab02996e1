/* The public header, and the mark of what the library exports. */
#ifndef BUFFERD_API_H
#define BUFFERD_API_H

#include "bufferd.h"

#define API __attribute__((visibility("default")))

#endif
