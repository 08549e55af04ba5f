/* Where the shim acts: see preload.h. */
#define _GNU_SOURCE
#include "preload.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Copies: the program may change its environment. */
static char report_path[512];

/* -- the program ------------------------------------------------------------------------------ */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool is_same_file(const char *path, const struct stat *file) {
    struct stat found;
    return fstatat(AT_FDCWD, path, &found, 0) == 0 && found.st_dev == file->st_dev &&
           found.st_ino == file->st_ino;
}

/* The program's file: as /proc has it, and where there is no /proc as it was given to execve.
   What became of its name since (a package was upgraded) does not count. */
static const char *program_file(struct stat *file) {
    static const char link[] = "/proc/self/exe", deleted[] = " (deleted)";
    static char path[PATH_MAX];
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) {
        const char *given = (const char *)getauxval(AT_EXECFN);
        return given != NULL && fstatat(AT_FDCWD, given, file, 0) == 0 ? given : NULL;
    }
    path[length] = '\0';
    if (fstatat(AT_FDCWD, link, file, 0) != 0)
        return NULL;
    size_t end = (size_t)length, more = sizeof deleted - 1;
    if (end > more && strcmp(path + end - more, deleted) == 0 && !is_same_file(path, file))
        path[end - more] = '\0';
    return path;
}

/* Whether this program is in the list, which colons separate: a name without a slash is that of
   the program's file, a path is its file by any name. */
static bool is_named(const char *list) {
    static char entry[PATH_MAX];
    struct stat file;
    const char *program = program_file(&file);
    while (program != NULL && *list != '\0') {
        size_t length = strcspn(list, ":");
        if (length > 0 && length < sizeof entry) {
            memcpy(entry, list, length);
            entry[length] = '\0';
            if (memchr(entry, '/', length) != NULL ? is_same_file(entry, &file)
                                                   : strcmp(entry, base_name(program)) == 0)
                return true;
        }
        list += length + (list[length] != '\0');
    }
    return false;
}

/* -- LD_PRELOAD ------------------------------------------------------------------------------- */

/* Whether an entry of LD_PRELOAD is this object, whose file and path are given. The loader looks
   for a name without a slash along its own path and puts something in place of `$LIB` and its like;
   such an entry is told by its last part. */
static bool is_this_object(const char *name, size_t length, const char *own,
                           const struct stat *self) {
    static char path[PATH_MAX];
    if (length == 0 || length >= sizeof path)
        return false;
    memcpy(path, name, length);
    path[length] = '\0';
    if (strchr(path, '/') == NULL || strchr(path, '$') != NULL)
        return strcmp(base_name(path), base_name(own)) == 0;
    return is_same_file(path, self);
}

/* Every other object stays in LD_PRELOAD, with what stands between them. */
static void leave_ld_preload(void) {
    const char *list = getenv("LD_PRELOAD");
    Dl_info info;
    struct stat self;
    if (list == NULL || dladdr((const void *)report_path, &info) == 0 || info.dli_fname == NULL ||
        fstatat(AT_FDCWD, info.dli_fname, &self, 0) != 0)
        return;
    char *kept = malloc(strlen(list) + 1);
    if (kept == NULL)
        return;
    size_t used = 0;
    bool others = false;
    while (*list != '\0') {
        size_t length = strcspn(list, ": ");
        if (!is_this_object(list, length, info.dli_fname, &self)) {
            others = others || length > 0;
            length += list[length] != '\0';
            memcpy(kept + used, list, length);
            used += length;
        } else if (list[length] != '\0') {
            length++;
        } else if (used > 0) {
            used--; /* what stood before the last one */
        }
        list += length;
    }
    kept[used] = '\0';
    if (others)
        setenv("LD_PRELOAD", kept, 1);
    else
        unsetenv("LD_PRELOAD");
    free(kept);
}

bool is_for_this_program(void) {
    const char *program = getenv("NO_EXCL_OPEN_FOR");
    if (program != NULL && !is_named(program))
        return false;
    const char *path = getenv("NO_EXCL_OPEN_REPORT");
    if (path != NULL && strlen(path) < sizeof report_path)
        strcpy(report_path, path);
    leave_ld_preload();
    report(REPORT_LOADED);
    return true;
}

/* -- telling ---------------------------------------------------------------------------------- */

void report(char mark) {
    struct stat found;
    if (report_path[0] == '\0')
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, report_path,
                          O_WRONLY | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && write(fd, &mark, 1) < 0)
        report_path[0] = '\0'; /* nobody can be told */
    close(fd);
}
