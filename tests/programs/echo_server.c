/* echo_server PORT...: answers what it reads, begins after $DELAY seconds; built static, it is all
 * that a container of the tests needs. On SIGTERM it takes what has been accepted for it already,
 * closes its ports, serves open connections to their own end and says how that went:
 * "ended: SERVED served, CUT cut". A connection that breaks while the server lives counts as cut. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 1024

static volatile sig_atomic_t told;
static struct pollfd fds[MOST];
static int count, ports;
static long served, cut;

static void stop(int number)
{
    (void)number;
    told = 1;
}

static void take(int port)
{
    int conn;
    while (count < MOST && (conn = accept4(port, NULL, NULL, 0)) >= 0)
        fds[count++] = (struct pollfd){ .fd = conn, .events = POLLIN };
}

static int answer(int conn)
{
    char data[65536];
    ssize_t got = read(conn, data, sizeof data), sent = 0;
    if (got <= 0)
        return (int)got;
    while (sent < got) {
        ssize_t more = send(conn, data + sent, got - sent, MSG_NOSIGNAL);
        if (more < 0)
            return -1;
        sent += more;
    }
    return 1;
}

int main(int argc, char **argv)
{
    const char *delay = getenv("DELAY");
    struct sigaction action = { .sa_handler = stop };
    sigset_t blocked, open;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &open);
    sigaction(SIGTERM, &action, NULL);
    usleep((useconds_t)((delay ? atof(delay) : 0) * 1e6));
    for (int i = 1; i < argc; i++) {
        struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[i])) };
        int on = 1, off = 0, port = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(port, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(port, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind(port, (struct sockaddr *)&any, sizeof any) || listen(port, 4096))
            return perror("listen"), 1;
        fds[count++] = (struct pollfd){ .fd = port, .events = POLLIN };
    }
    ports = count;
    while (!told || count > ports) {
        struct timespec tick = { .tv_sec = 1 };
        int found = ppoll(fds, count, &tick, &open);
        if (told && ports > 0) {
            for (int i = 0; i < ports; i++) {
                take(fds[i].fd);
                close(fds[i].fd);
            }
            memmove(fds, fds + ports, (count - ports) * sizeof *fds);
            count -= ports;
            ports = 0;
            continue;
        }
        for (int i = count; found > 0 && i-- > ports;) {
            int result = fds[i].revents ? answer(fds[i].fd) : 1;
            if (result > 0)
                continue;
            result == 0 ? served++ : cut++;
            close(fds[i].fd);
            fds[i] = fds[--count];
        }
        for (int i = 0; found > 0 && i < ports; i++)
            if (fds[i].revents)
                take(fds[i].fd);
    }
    printf("ended: %ld served, %ld cut\n", served, cut);
    return 0;
}
