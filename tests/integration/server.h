/* A daemon of its own for each test ($BUFFERD_DAEMON), and what tests of the C client share. */
#ifndef BUFFERD_TEST_SERVER_H
#define BUFFERD_TEST_SERVER_H

#include <sys/types.h>

#include "../../client/bufferd.h"
#include "../../client/deadline.h"
#include "../../proto/base.h"

#define MiB (1ull << 20)

struct server {
    char dir[64], socket[96];
    pid_t pid;             /* 0: not running */
    const char *memory;    /* NULL: 64 MiB */
    const char *arena_dir; /* NULL: none */
};

#define SERVER CLEANUP(server_end) struct server
#define SESSION CLEANUP(cleanup_unref) struct bufferd *

/* A call of the library that has to succeed; it names its error argument `&error`. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        struct bufferd_error error = {0};                                                          \
        int rc_ = (call);                                                                          \
        cr_assert_eq(rc_, 0, "%d: %s", rc_, error.text);                                           \
    } while (0)

/* Skips the test when there is none. */
const char *daemon_program(void);

/* With 64 MiB and two workers, in a directory of its own. */
struct server server_new(void);
struct server server_new_with(const char *memory, const char *arena_dir);
void server_start(struct server *s);
/* SIGKILL and SIGTERM wait for its end. */
void server_signal(struct server *s, int number);
void server_end(struct server *s);
/* With all that a daemon leaves in it. */
void remove_dir(const char *dir);

struct bufferd *connect_to(const struct server *s);
void cleanup_unref(struct bufferd **bp);

/* A named array of n_bytes, all of them `value`. */
struct bufferd_view put_filled(struct bufferd *b, const char *name, uint64_t n_bytes,
                               uint8_t value);
bool is_filled(const struct bufferd_view *v, uint8_t value);
/* Get a named array. Return: its outcome. */
int get_one(struct bufferd *b, struct bufferd_view *vp, const char *name);
struct bufferd_evicted evict_all(struct bufferd *b);
/* A figure of the daemon's status; 0 when there is none of that name. */
uint64_t figure(struct bufferd *b, const char *name);

#endif
