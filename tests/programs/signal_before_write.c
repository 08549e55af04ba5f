/* For LD_PRELOAD: SIGTERM comes once, right before a write(2) of a page or more or a splice(2)
   begins: too late for a look at what has come, too early to interrupt the call. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static void signal_once(void) {
    static int done;
    struct sigaction action;
    if (done || sigaction(SIGTERM, NULL, &action) != 0 || action.sa_handler == SIG_DFL)
        return;
    done = 1;
    raise(SIGTERM);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (count >= 4096)
        signal_once();
    return syscall(SYS_write, fd, bytes, count);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t most, unsigned flags) {
    signal_once();
    return syscall(SYS_splice, from, from_at, to, to_at, most, flags);
}
