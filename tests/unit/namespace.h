/* For tests: map the own ids in a new user namespace. */
#ifndef BUFFERD_TEST_NAMESPACE_H
#define BUFFERD_TEST_NAMESPACE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static inline bool text_write(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    bool is_written = fd >= 0 && write(fd, text, strlen(text)) > 0;
    if (fd >= 0)
        close(fd);
    return is_written;
}

/* Right after unshare: the ids outside must still be known, so they are given. */
static inline bool ids_map(unsigned uid, unsigned gid) {
    char uids[32], gids[32];
    snprintf(uids, sizeof(uids), "%u %u 1", uid, uid);
    snprintf(gids, sizeof(gids), "%u %u 1", gid, gid);
    return text_write("/proc/self/uid_map", uids) && text_write("/proc/self/setgroups", "deny") &&
           text_write("/proc/self/gid_map", gids);
}

#endif
