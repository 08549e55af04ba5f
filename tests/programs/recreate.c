/* For LD_PRELOAD: an application that re-creates its log in the moment after it was renamed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int rename(const char *from, const char *to) {
    static int (*next)(const char *, const char *);
    if (next == NULL)
        *(void **)(&next) = dlsym(RTLD_NEXT, "rename");
    int done = next(from, to);
    size_t length = strlen(from);
    if (done == 0 && length > 4 && strcmp(from + length - 4, ".log") == 0) {
        int log = open(from, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (log < 0 || write(log, "between\n", 8) != 8)
            _exit(99);
        close(log);
    }
    return done;
}
