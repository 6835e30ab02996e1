/* fork() with live sessions. */
#ifndef BUFFERD_FORK_H
#define BUFFERD_FORK_H

struct bufferd;

/* From here on until fork_forget(), fork() takes care of the session. Return: 0 or -ENOMEM. */
int fork_watch(struct bufferd *b);
void fork_forget(struct bufferd *b);

#endif
