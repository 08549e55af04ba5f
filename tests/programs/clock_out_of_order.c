/* For LD_PRELOAD: the native module, and it alone, is given times with two thousand million
   nanoseconds to the second, which no system gives: reading the clock panics there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    Dl_info caller;
    int status = syscall(SYS_clock_gettime, clock, now);
    if (dladdr(__builtin_return_address(0), &caller) && strstr(caller.dli_fname, "/_native."))
        now->tv_nsec = 2000000000;
    return status;
}
