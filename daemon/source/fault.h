/* Error texts of the readers: what is wrong, and where in the file. */
#ifndef BUFFERD_FAULT_H
#define BUFFERD_FAULT_H

#include "source.h"

/* Write the text into `error` (SOURCE_ERROR_BYTES). Return: code. */
int fault(char *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Put "where: " in front of the text that is there. */
void fault_add_place(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
