/* For LD_PRELOAD: appends a line to the file SYNC_LOG at each fsync(2) and fdatasync(2). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void note(const char *name) {
    const char *path = getenv("SYNC_LOG");
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (fd >= 0) {
        if (write(fd, name, strlen(name)) < 0)
            _exit(9);
        close(fd);
    }
}

int fsync(int fd) {
    note("fsync\n");
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    note("fdatasync\n");
    return (int)syscall(SYS_fdatasync, fd);
}
