/* Descriptors over a Unix stream socket, one a message.
 *
 * A descriptor travels with the first byte of the frame that names it, and the kernel ends a
 * receive at the message that carried one: a descriptor that came with a receive belongs to the
 * last frame that began in those bytes. A peer that sends more than one, or a full descriptor
 * table that loses one, breaks that pairing; what did arrive is closed and the caller is told to
 * give the connection up, so that nothing leaks and no frame gets another frame's descriptor.
 *
 * Both calls never block, whatever the socket's flags say, and never raise SIGPIPE.
 */
#include "fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

ssize_t fdpass_send(int sock, const void *data, size_t n, int fd) {
    if (n == 0)
        return -EINVAL;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

/* Keep the first descriptor of all control messages, close the others.
 * Return: how many there were. */
static unsigned take_descriptors(struct msghdr *msg, int *fdp) {
    unsigned n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n_fds; i++, n++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (n == 0)
                *fdp = fd;
            else
                close(fd);
        }
    }
    return n;
}

ssize_t fdpass_recv(int sock, void *data, size_t n, int *fdp) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = data, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t got;
    do {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        got = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    CLEANUP(cleanup_close) int fd = -1;
    if (take_descriptors(&msg, &fd) > 1 || msg.msg_flags & MSG_CTRUNC)
        return -EBADMSG;
    *fdp = TAKE_FD(fd);
    return got;
}
