/* Where this user's own daemon may live: what is not a directory of the user alone is passed over.
 */
#include "../../client/autostart.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../../proto/base.h"

struct place {
    char runtime[64], dir[96]; /* dir is bufferd in runtime */
};

static struct place place_new(void) {
    struct place p = {.runtime = "/tmp/bufferd-test-XXXXXX"};
    cr_assert_not_null(mkdtemp(p.runtime));
    snprintf(p.dir, sizeof(p.dir), "%s/bufferd", p.runtime);
    setenv("XDG_RUNTIME_DIR", p.runtime, 1);
    return p;
}

static void place_remove(struct place *p) {
    unlink(p->dir);
    rmdir(p->dir);
    rmdir(p->runtime);
}

/* Without leave to make anything, so that nothing is left behind in /tmp. */
static bool is_chosen(const struct place *p) {
    struct autostart a;
    const struct bufferd_options options = {.no_autostart = true};
    return autostart_init(&a, &options, NULL) == 0 && strcmp(a.dir, p->dir) == 0;
}

Test(autostart, directories_that_others_can_enter) {
    CLEANUP(place_remove) struct place p = place_new();
    cr_assert_not(is_chosen(&p), "it is not there");
    static const mode_t modes[] = {0755, 0770, 0701, 01777};
    cr_assert_eq(mkdir(p.dir, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        chmod(p.dir, modes[i]);
        cr_expect_not(is_chosen(&p), "%o", modes[i]);
    }
    chmod(p.dir, 0700);
    cr_expect(is_chosen(&p));
}

Test(autostart, directories_of_others) {
    CLEANUP(place_remove) struct place p = place_new();
    if (geteuid())
        cr_skip_test("only root can give a directory away");
    cr_assert_eq(mkdir(p.dir, 0700), 0);
    cr_assert_eq(chown(p.dir, 12345, 12345), 0);
    cr_expect_not(is_chosen(&p));
}

Test(autostart, links_and_files) {
    CLEANUP(place_remove) struct place p = place_new();
    char target[80];
    snprintf(target, sizeof(target), "%s/target", p.runtime);
    cr_assert_eq(mkdir(target, 0700), 0);
    cr_assert_eq(symlink("target", p.dir), 0);
    cr_expect_not(is_chosen(&p));
    unlink(p.dir);
    rmdir(target);
    fclose(fopen(p.dir, "w"));
    chmod(p.dir, 0700);
    cr_expect_not(is_chosen(&p));
}

Test(autostart, made_when_it_may_be) {
    CLEANUP(place_remove) struct place p = place_new();
    struct autostart a;
    struct stat st;
    const struct bufferd_options options = {.daemon = "some/bufferd", .memory = "1G"};
    umask(0);
    cr_assert_eq(autostart_init(&a, &options, NULL), 0);
    cr_assert_str_eq(a.dir, p.dir);
    cr_assert_eq(lstat(p.dir, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0700);
    cr_assert_str_eq(a.program, "some/bufferd");
    cr_assert_str_eq(a.memory, "1G");
}

Test(autostart, relative_or_long_runtime_directories) {
    struct autostart a;
    const struct bufferd_options options = {.no_autostart = true};
    char path[300] = "/";
    memset(path + 1, 'x', sizeof(path) - 2);
    setenv("XDG_RUNTIME_DIR", path, 1);
    autostart_init(&a, &options, NULL);
    cr_expect_eq(strncmp(a.dir, "/tmp/bufferd-", 13), 0);
    setenv("XDG_RUNTIME_DIR", ".", 1);
    autostart_init(&a, &options, NULL);
    cr_expect_eq(strncmp(a.dir, "/tmp/bufferd-", 13), 0);
}
