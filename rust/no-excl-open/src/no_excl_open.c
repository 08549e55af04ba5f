/*
 * no_excl_open: lets a program open a file that it wanted to create and that is already there.
 *
 * logrotate renames a log and creates a new one with O_CREAT|O_EXCL. When the application has
 * re-created the log in between, that fails with EEXIST. With this object in LD_PRELOAD the call
 * is tried as it was written; only when it fails with EEXIST is the file that is there opened, if
 * it is safe to: a regular file with one link in a directory where nobody else can have put it (see
 * `is_trusted`). Whatever becomes of that, the program is told what it would have been told anyway.
 *
 * It acts in one program, named by NO_EXCL_OPEN_FOR, or the first that it is loaded into (see
 * preload.h): on calls with O_CREAT|O_RDWR|O_EXCL and without O_TRUNC or O_TMPFILE; and, when
 * NO_EXCL_OPEN_PATHS is set, only on paths that match one of its patterns (see patterns.h).
 *
 * Everything after the constructor is async-signal-safe: system calls and loops over memory, no
 * lock, no allocation, and little stack (the compiler is told how little).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "patterns.h"
#include "preload.h"

#define EXPORT __attribute__((visibility("default")))
#define MAX_PATTERNS_BYTES 16384
#define MAX_TRIES 8

typedef int open_function(const char *, int, ...);
typedef int openat_function(int, const char *, int, ...);
typedef int open_2_function(const char *, int);
typedef int openat_2_function(int, const char *, int);
typedef int creat_function(const char *, mode_t);

static open_function *next_open, *next_open64;
static openat_function *next_openat, *next_openat64;
static open_2_function *next_open_2, *next_open64_2;
static openat_2_function *next_openat_2, *next_openat64_2;
static creat_function *next_creat, *next_creat64;

/* A copy: the program may change its environment while another thread opens a file. */
static char patterns[MAX_PATTERNS_BYTES];
static bool limited, verbose;
/* Not before the constructor has looked whether this is the program. */
static bool active;

/* -- at load ---------------------------------------------------------------------------------- */

/* ISO C has no cast from an object pointer to a function pointer; POSIX asks for this one. */
#define RESOLVE(name) (*(void **)(&next_##name) = dlsym(RTLD_NEXT, #name))
#define RESOLVE_FORTIFIED(name) (*(void **)(&next_##name) = dlsym(RTLD_NEXT, "__" #name))

static void resolve(void) {
    RESOLVE(open);
    RESOLVE(open64);
    RESOLVE(openat);
    RESOLVE(openat64);
    RESOLVE(creat);
    RESOLVE(creat64);
    RESOLVE_FORTIFIED(open_2);
    RESOLVE_FORTIFIED(open64_2);
    RESOLVE_FORTIFIED(openat_2);
    RESOLVE_FORTIFIED(openat64_2);
}

__attribute__((constructor)) static void load(void) {
    int saved = errno;
    resolve();
    /* An empty list names no file. */
    const char *list = getenv("NO_EXCL_OPEN_PATHS");
    if (list != NULL) {
        limited = true;
        /* A list that is too long matches nothing rather than something else. */
        if (strlen(list) < sizeof patterns)
            strcpy(patterns, list);
    }
    const char *loud = getenv("NO_EXCL_OPEN_VERBOSE");
    verbose = loud != NULL && *loud != '\0' && strcmp(loud, "0") != 0;
    active = is_for_this_program();
    errno = saved;
}

/* -- which files ------------------------------------------------------------------------------ */

/* Writes the absolute path into `whole` without `//` and `/./`; false when that cannot be done. */
static bool absolute(int directory, const char *path, char whole[PATH_MAX]) {
    size_t used = 0;
    if (path[0] != '/') {
        ssize_t length;
        if (directory == AT_FDCWD) {
            length = syscall(SYS_getcwd, whole, PATH_MAX) - 1;
        } else {
            char link[32] = "/proc/self/fd/", digits[12];
            size_t at = sizeof digits, end = strlen(link);
            for (unsigned rest = (unsigned)directory; rest > 0 || at == sizeof digits; rest /= 10)
                digits[--at] = (char)('0' + rest % 10);
            memcpy(link + end, digits + at, sizeof digits - at);
            length = readlink(link, whole, PATH_MAX - 1);
        }
        if (length <= 0 || whole[0] != '/')
            return false;
        used = length == 1 ? 0 : (size_t)length;
    }
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        if (length > 0 && !(length == 1 && path[0] == '.')) {
            if (used + length + 2 > PATH_MAX)
                return false;
            whole[used++] = '/';
            memcpy(whole + used, path, length);
            used += length;
        }
        path += length + (path[length] != '\0');
    }
    whole[used] = '\0';
    return true;
}

/* Whether nobody but its owner or root can have put the file where it is, or its owner gains
   nothing by that. Ubuntu's /var/log may be written to by its group: root's files in it are root's
   doing as long as the directory is root's; in another's they may have been moved there, and what
   the program then makes of the file (logrotate gives it to somebody) is not for that other. */
static bool is_trusted(const struct stat *directory, const struct stat *file) {
    if (!S_ISREG(file->st_mode) || file->st_nlink != 1 || (directory->st_mode & S_IWOTH))
        return false;
    return !(directory->st_mode & S_IWGRP) || file->st_uid != 0 || directory->st_uid == 0;
}

static void tell(const char *path) {
    static const char before[] = "no_excl_open: opened though it exists: ";
    if (write(STDERR_FILENO, before, sizeof before - 1) < 0 ||
        write(STDERR_FILENO, path, strlen(path)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
        return;
}

/* Opens the file that is there if it is one that may be opened, -1 otherwise. What was looked at
   is what is opened: the directory is held, and the file is looked at once more when it is open. */
static int open_trusted(openat_function *at, int holder, const char *name, int flags) {
    struct stat directory, file;
    if (fstat(holder, &directory) != 0 ||
        fstatat(holder, name, &file, AT_SYMLINK_NOFOLLOW) != 0 || !is_trusted(&directory, &file))
        return -1;
    flags = (flags & ~(O_CREAT | O_EXCL)) | O_NOFOLLOW;
    int fd = at != NULL ? at(holder, name, flags) : (int)syscall(SYS_openat, holder, name, flags);
    if (fd >= 0 && (fstat(fd, &file) != 0 || !is_trusted(&directory, &file))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The directory of `path` as a descriptor, -1 when it cannot be held or the path is not listed.
   `space` is room for a path. */
static int hold_directory(int directory, const char *path, char space[PATH_MAX]) {
    if (limited && (!absolute(directory, path, space) || !is_listed(patterns, space)))
        return -1;
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    if (length >= PATH_MAX)
        return -1;
    memcpy(space, path, length);
    space[length] = '\0';
    const char *parent = slash == NULL ? "." : length == 0 ? "/" : space;
    return (int)syscall(SYS_openat, directory, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int open_existing(openat_function *at, int directory, const char *path, int flags) {
    const int must = O_CREAT | O_EXCL;
    if (path == NULL || (flags & must) != must || (flags & O_ACCMODE) != O_RDWR ||
        (flags & O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE)
        return -1;
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (*name == '\0')
        return -1;
    /* Not on the stack, which may be a small one of a signal handler's. */
    char *space =
        mmap(NULL, PATH_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (space == MAP_FAILED)
        return -1;
    int holder = hold_directory(directory, path, space);
    munmap(space, PATH_MAX);
    if (holder < 0)
        return -1;
    int fd = open_trusted(at, holder, name, flags);
    close(holder);
    return fd;
}

/* -- the calls -------------------------------------------------------------------------------- */

static int call(openat_function *at, open_function *plain, int directory, const char *path,
                int flags, mode_t mode) {
    if (plain != NULL)
        return plain(path, flags, mode);
    if (at != NULL)
        return at(directory, path, flags, mode);
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

/* `at` serves for what `plain` is given for, too: the file is opened from its directory. */
static int open_any(openat_function *at, open_function *plain, int directory, const char *path,
                    int flags, mode_t mode) {
    int before = errno;
    for (int tries = 1;; tries++) {
        int fd = call(at, plain, directory, path, flags, mode);
        if (fd >= 0 || errno != EEXIST || !active)
            return fd;
        fd = open_existing(at, directory, path, flags);
        if (fd >= 0) {
            report(REPORT_OPENED);
            if (verbose)
                tell(path);
            errno = before;
            return fd;
        }
        /* The file that was in the way may be gone again: then the program is to create it. */
        if (errno != ENOENT || tries == MAX_TRIES) {
            errno = EEXIST;
            return -1;
        }
        errno = before;
    }
}

/* The mode is an argument only when a file may be created. */
#define MODE_OF(flags)                                                                             \
    mode_t mode = 0;                                                                               \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }

/* Before the constructor ran (another object's ran first) there is nothing resolved yet. */
#define NEED(name)                                                                                 \
    if (next_##name == NULL)                                                                       \
    resolve()

EXPORT int open(const char *path, int flags, ...) {
    MODE_OF(flags)
    NEED(open);
    return open_any(next_openat, next_open, AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    NEED(open64);
    return open_any(next_openat64, next_open64, AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int directory, const char *path, int flags, ...) {
    MODE_OF(flags)
    NEED(openat);
    return open_any(next_openat, NULL, directory, path, flags, mode);
}

EXPORT int openat64(int directory, const char *path, int flags, ...) {
    MODE_OF(flags)
    NEED(openat64);
    return open_any(next_openat64, NULL, directory, path, flags, mode);
}

/* The fortified calls have no mode, so they can create nothing (glibc ends the program that tries):
   they are handed on as they are, as creat is, which always truncates and never has O_EXCL. */
EXPORT int __open_2(const char *path, int flags) {
    NEED(open_2);
    return next_open_2(path, flags);
}

EXPORT int __open64_2(const char *path, int flags) {
    NEED(open64_2);
    return next_open64_2(path, flags);
}

EXPORT int __openat_2(int directory, const char *path, int flags) {
    NEED(openat_2);
    return next_openat_2(directory, path, flags);
}

EXPORT int __openat64_2(int directory, const char *path, int flags) {
    NEED(openat64_2);
    return next_openat64_2(directory, path, flags);
}

EXPORT int creat(const char *path, mode_t mode) {
    NEED(creat);
    return next_creat(path, mode);
}

EXPORT int creat64(const char *path, mode_t mode) {
    NEED(creat64);
    return next_creat64(path, mode);
}
