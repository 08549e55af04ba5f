/* Opens files in every way that no_excl_open.so covers; prints one line a call: NAME RESULT ERRNO. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define EXCLUSIVE (O_CREAT | O_EXCL | O_RDWR)

static void report(const char *name, int fd) {
    int saved = errno;
    printf("%s %s %d\n", name, fd >= 0 ? "opened" : "refused", fd >= 0 ? 0 : saved);
    if (fd >= 0)
        close(fd);
}

static void every_call(const char *path, const char *directory, const char *name) {
    int at = open(directory, O_RDONLY | O_DIRECTORY);
    volatile int plain = O_RDWR; /* not known at compile time: the fortified entry points */
    report("open", open(path, EXCLUSIVE, 0600));
    report("open64", open64(path, EXCLUSIVE, 0600));
    report("openat", openat(at, name, EXCLUSIVE, 0600));
    report("openat64", openat64(at, name, EXCLUSIVE, 0600));
    report("fortified-open", open(path, plain));
    report("fortified-open64", open64(path, plain));
    report("fortified-openat", openat(at, name, plain));
    report("fortified-openat64", openat64(at, name, plain));
    report("write-only", open(path, O_CREAT | O_EXCL | O_WRONLY, 0600));
    report("truncating", open(path, EXCLUSIVE | O_TRUNC, 0600));
    report("tmpfile", open(directory, O_TMPFILE | O_EXCL | O_RDWR, 0600));
    report("creat", creat(path, 0600));
    report("creat64", creat64(path, 0600));
    close(at);
}

static void modes(const char *path) {
    struct stat found;
    umask(0);
    int fd = open(path, EXCLUSIVE, 0640);
    fstat(fd, &found);
    printf("created %o\n", (unsigned)found.st_mode & 07777);
    errno = 77;
    fd = open(path, EXCLUSIVE, 0600);
    printf("errno %d\n", errno);
    char below[4096];
    snprintf(below, sizeof below, "%s.missing/file", path);
    fd = open(below, EXCLUSIVE, 0600);
    printf("missing %d\n", errno);
}

static const char *shared;
static volatile sig_atomic_t in_handler;

static void on_alarm(int signal) {
    (void)signal;
    int saved = errno, fd = open(shared, EXCLUSIVE, 0600);
    if (fd < 0)
        _exit(3);
    close(fd);
    in_handler++;
    errno = saved;
}

static void *work(void *unused) {
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        int fd = open(shared, EXCLUSIVE, 0600);
        char *text = malloc((size_t)(round % 5000) + 1);
        if (fd < 0 || text == NULL)
            _exit(2);
        text[0] = 'x';
        free(text);
        close(fd);
    }
    return NULL;
}

static void threads(const char *path) {
    pthread_t all[4];
    struct itimerval often = {{0, 300}, {0, 300}};
    shared = path;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 4; i++)
        pthread_create(&all[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], NULL);
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    printf("threads done, handler %s\n", in_handler > 10 ? "ran" : "did not run");
}

/* Opens from a signal handler whose stack has 2 KiB more than the kernel's frame takes. */
static void small_stack(const char *path) {
    size_t size = getauxval(AT_MINSIGSTKSZ) + 2048, page = (size_t)sysconf(_SC_PAGESIZE);
    size_t whole = (size + page - 1) / page * page;
    char *guard = mmap(NULL, whole + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(guard + page, whole, PROT_READ | PROT_WRITE);
    stack_t stack = {.ss_sp = guard + page, .ss_size = size}; /* what overflows meets the guard */
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK};
    shared = path;
    memset(stack.ss_sp, 0x5a, size);
    if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGALRM, &action, NULL) != 0)
        _exit(4);
    raise(SIGALRM);
    printf("handler %s\n", in_handler == 1 ? "ran" : "did not run");
}

int main(int count, char **words) {
    if (count == 5 && strcmp(words[1], "calls") == 0)
        every_call(words[2], words[3], words[4]);
    else if (count == 3 && strcmp(words[1], "modes") == 0)
        modes(words[2]);
    else if (count == 3 && strcmp(words[1], "threads") == 0)
        threads(words[2]);
    else if (count == 3 && strcmp(words[1], "small-stack") == 0)
        small_stack(words[2]);
    else
        return 64;
    return 0;
}
