/*
 * no_excl_open: lets a program open a file that it wanted to create and that is already there.
 *
 * logrotate renames a log and creates a new one with O_CREAT|O_EXCL. When the application has
 * re-created the log in between, that fails with EEXIST. With this object in LD_PRELOAD the call
 * is tried as it was written; only when it fails with EEXIST is it tried once more without O_EXCL,
 * and with O_NOFOLLOW, so that a planted symbolic link is not followed.
 *
 * It acts on calls with O_CREAT|O_RDWR|O_EXCL and without O_TRUNC or O_TMPFILE; never in a
 * directory that is world-writable and sticky, where O_EXCL is a guard; and, when
 * NO_EXCL_OPEN_PATHS holds glob patterns separated by colons, only on paths that match one: `*`
 * and `?` stay within one directory, `**` crosses them. A path with `..` in it matches none.
 *
 * Everything after the constructor is async-signal-safe: system calls and loops over memory.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_PATTERNS_BYTES 16384

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

static bool is_this_object(const char *name, size_t length, const struct stat *self) {
    char path[PATH_MAX];
    struct stat found;
    if (length == 0 || length >= sizeof path)
        return false;
    memcpy(path, name, length);
    path[length] = '\0';
    return fstatat(AT_FDCWD, path, &found, 0) == 0 && found.st_dev == self->st_dev &&
           found.st_ino == self->st_ino;
}

/* Children get every other object of LD_PRELOAD, in their order, and not this one. */
static void leave_ld_preload(void) {
    const char *list = getenv("LD_PRELOAD");
    Dl_info info;
    struct stat self;
    if (list == NULL || dladdr((const void *)patterns, &info) == 0 || info.dli_fname == NULL ||
        fstatat(AT_FDCWD, info.dli_fname, &self, 0) != 0)
        return;
    char *kept = malloc(strlen(list) + 1);
    if (kept == NULL)
        return;
    size_t used = 0;
    while (*list != '\0') {
        size_t length = strcspn(list, ": ");
        if (length > 0 && !is_this_object(list, length, &self)) {
            if (used > 0)
                kept[used++] = ':';
            memcpy(kept + used, list, length);
            used += length;
        }
        list += length + (list[length] != '\0');
    }
    kept[used] = '\0';
    if (used > 0)
        setenv("LD_PRELOAD", kept, 1);
    else
        unsetenv("LD_PRELOAD");
    free(kept);
}

__attribute__((constructor)) static void load(void) {
    int saved = errno;
    resolve();
    const char *list = getenv("NO_EXCL_OPEN_PATHS");
    if (list != NULL && *list != '\0') {
        limited = true;
        /* A list that is too long matches nothing rather than something else. */
        if (strlen(list) < sizeof patterns)
            strcpy(patterns, list);
    }
    const char *loud = getenv("NO_EXCL_OPEN_VERBOSE");
    verbose = loud != NULL && *loud != '\0' && strcmp(loud, "0") != 0;
    leave_ld_preload();
    errno = saved;
}

/* -- which files ------------------------------------------------------------------------------ */

/* Whether the pattern's first `length` bytes match all of `text`. */
static bool matches(const char *pattern, size_t length, const char *text) {
    const char *end = pattern + length;
    /* Where to go on after the last `*` and the last `**`: two are enough, since a later star of
       the same reach takes over from an earlier one. */
    const char *star = NULL, *star_text = NULL, *deep = NULL, *deep_text = NULL;
    for (;;) {
        if (pattern < end && *pattern == '*') {
            while (pattern < end && *pattern == '*')
                pattern++;
            if (pattern - 1 > end - length && pattern[-2] == '*') {
                deep = pattern;
                deep_text = text;
                star = NULL;
            } else {
                star = pattern;
                star_text = text;
            }
            continue;
        }
        if (*text == '\0' && pattern == end)
            return true;
        if (*text != '\0' && pattern < end &&
            (*pattern == *text || (*pattern == '?' && *text != '/'))) {
            pattern++;
            text++;
            continue;
        }
        if (star != NULL && *star_text != '\0' && *star_text != '/') {
            pattern = star;
            text = ++star_text;
            continue;
        }
        if (deep != NULL && *deep_text != '\0') {
            pattern = deep;
            text = ++deep_text;
            star = NULL;
            continue;
        }
        return false;
    }
}

static bool has_dot_dot(const char *path) {
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2)
        if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
            return true;
    return false;
}

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

static bool is_listed(const char *whole) {
    for (const char *at = patterns; *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (length > 0 && matches(at, length, whole))
            return true;
        at += length + (at[length] != '\0');
    }
    return false;
}

/* Whether the file's directory is world-writable and sticky; true when that cannot be found out.
   `path` is overwritten. */
static bool is_guarded(char *path) {
    struct stat directory;
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return true;
    slash[slash == path] = '\0';
    if (fstatat(AT_FDCWD, path, &directory, 0) != 0)
        return true;
    return (directory.st_mode & S_ISVTX) && (directory.st_mode & S_IWOTH);
}

static void tell(const char *path) {
    static const char before[] = "no_excl_open: opened though it exists: ";
    if (write(STDERR_FILENO, before, sizeof before - 1) < 0 ||
        write(STDERR_FILENO, path, strlen(path)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
        return;
}

static bool may_exist(int directory, const char *path, int flags) {
    const int must = O_CREAT | O_EXCL;
    char whole[PATH_MAX];
    if (path == NULL || (flags & must) != must || (flags & O_ACCMODE) != O_RDWR ||
        (flags & O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE)
        return false;
    if (!absolute(directory, path, whole))
        return false;
    if (limited && (has_dot_dot(whole) || !is_listed(whole)))
        return false;
    return !is_guarded(whole);
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

static int open_any(openat_function *at, open_function *plain, int directory, const char *path,
                    int flags, mode_t mode) {
    int before = errno;
    int fd = call(at, plain, directory, path, flags, mode);
    if (fd >= 0 || errno != EEXIST)
        return fd;
    bool again = may_exist(directory, path, flags);
    errno = EEXIST;
    if (!again)
        return fd;
    fd = call(at, plain, directory, path, (flags & ~O_EXCL) | O_NOFOLLOW, mode);
    if (fd < 0) {
        /* A symbolic link: what the program would have been told without this object. */
        if (errno == ELOOP)
            errno = EEXIST;
        return fd;
    }
    struct stat found;
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) {
        close(fd);
        errno = EEXIST;
        return -1;
    }
    if (verbose)
        tell(path);
    errno = before;
    return fd;
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
    return open_any(NULL, next_open, AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    NEED(open64);
    return open_any(NULL, next_open64, AT_FDCWD, path, flags, mode);
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
