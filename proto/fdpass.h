/* sendmsg and recvmsg on a Unix stream socket with at most one descriptor a call. */
#ifndef BUFFERD_FDPASS_H
#define BUFFERD_FDPASS_H

#include "base.h"
#include <sys/types.h>

/* Send up to n bytes and, when fd >= 0, that descriptor with the first of them. The fd stays the
 * caller's. Return: bytes sent (> 0), or negative errno (-EAGAIN when the socket is full; -EPIPE
 * without a signal). */
ssize_t fdpass_send(int sock, const void *data, size_t n, int fd);

/* Receive up to n bytes; *fdp is a CLOEXEC descriptor that came with them, or -1. Descriptors
 * beyond the first are closed and answered -EBADMSG, as is a lost one (MSG_CTRUNC). Return: bytes
 * received, 0 at the end of the stream, or negative errno. */
ssize_t fdpass_recv(int sock, void *data, size_t n, int *fdp);

#endif
