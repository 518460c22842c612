/*
 * The server behind the wrapper in the tests: what was a server really given?
 *
 * It writes one "key value" line per fact to /run/tw-e2e/saw (or to the file named by the
 * environment variable PROBE_REPORT), answers one line on descriptor 1 and ends with status 7.
 * Keys that are repeated (argv, env, fd, sigign, sigblocked, limit) come in ascending order.
 * The report changes nothing that it reports on, the first bytes of the connection apart.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <netinet/in.h>
#include <unistd.h>

extern char **environ;

static FILE *report;

static void descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        char link[64], target[4096];
        ssize_t length;
        if (fd == fileno(report))
            continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, target, sizeof target - 1);
        if (length <= 0)
            continue;
        target[length] = 0;
        /* The number of a socket or a pipe differs from run to run. */
        if (!strncmp(target, "socket:", 7) || !strncmp(target, "pipe:", 5))
            *strchr(target, '[') = 0;
        fprintf(report, "fd %d %s\n", fd, target);
    }
}

static void signals(void)
{
    sigset_t blocked, pending;
    struct itimerval timer;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (number < 32 && !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN)
            fprintf(report, "sigign %d\n", number);
        if (sigismember(&blocked, number) == 1)
            fprintf(report, "sigblocked %d\n", number);
        if (sigismember(&pending, number) == 1)
            fprintf(report, "sigpending %d\n", number);
    }
    if (!getitimer(ITIMER_REAL, &timer))
        fprintf(report, "alarm %s\n", timer.it_value.tv_sec || timer.it_value.tv_usec ? "set" : "none");
}

static void identity(void)
{
    gid_t groups[256];
    uid_t real, effective, saved;
    int count = getgroups(256, groups);
    fprintf(report, "ids uid=%d euid=%d gid=%d egid=%d ngroups=%d\n",
            (int) getuid(), (int) geteuid(), (int) getgid(), (int) getegid(), count);
    fprintf(report, "groups ");
    for (int index = 0; index < count; index++)
        fprintf(report, "%d ", (int) groups[index]);
    fprintf(report, "\n");
    if (!getresuid(&real, &effective, &saved))
        fprintf(report, "saved %d\n", (int) saved);
    if (real || effective || saved)
        fprintf(report, "root-again %s\n", setuid(0) && setresuid(0, 0, 0) && seteuid(0) ? "no" : "yes");
}

static void surroundings(void)
{
    char directory[4096];
    mode_t mask = umask(0);
    umask(mask);
    fprintf(report, "umask %03o\n", (unsigned) mask);
    fprintf(report, "nice %d\n", getpriority(PRIO_PROCESS, 0));
    fprintf(report, "cwd %s\n", getcwd(directory, sizeof directory) ? directory : "?");
    for (int kind = 0; kind < 16; kind++) {
        struct rlimit limit;
        if (!getrlimit((__rlimit_resource_t) kind, &limit))
            fprintf(report, "limit %d %lld %lld\n", kind, (long long) limit.rlim_cur, (long long) limit.rlim_max);
    }
}

static void connection(void)
{
    struct linger linger;
    struct pollfd input = { .fd = 0, .events = POLLIN, .revents = 0 };
    unsigned char options[64];
    int keepalive;
    socklen_t length = sizeof linger;
    if (!getsockopt(0, SOL_SOCKET, SO_LINGER, &linger, &length))
        fprintf(report, "linger %d %d\n", linger.l_onoff, linger.l_linger);
    length = sizeof keepalive;
    if (!getsockopt(0, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &length))
        fprintf(report, "keepalive %d\n", keepalive);
    length = sizeof options;
    if (!getsockopt(0, IPPROTO_IP, IP_OPTIONS, options, &length))
        fprintf(report, "ipoptions %u bytes\n", (unsigned) length);
    if (poll(&input, 1, 300) > 0) {
        char text[512];
        ssize_t got = recv(0, text, sizeof text - 1, MSG_DONTWAIT);
        if (got < 0) {
            fprintf(report, "read error %s\n", strerror(errno));
        } else {
            text[got] = 0;
            text[strcspn(text, "\n")] = 0;
            fprintf(report, "read %zd %s\n", got, text);
        }
    } else {
        fprintf(report, "read nothing\n");
    }
}

int main(int argc, char **argv)
{
    const char *path = getenv("PROBE_REPORT");
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    report = fopen(path ? path : "/run/tw-e2e/saw", "we");
    if (!report)
        return 3;
    for (int index = 0; index < argc; index++)
        fprintf(report, "argv %s\n", argv[index]);
    program[length > 0 ? length : 0] = 0;
    fprintf(report, "exe %s\n", program);
    for (char **entry = environ; *entry; entry++)
        fprintf(report, "env %s\n", *entry);
    descriptors();
    signals();
    surroundings();
    connection();
    identity();
    fclose(report);
    if (write(1, "HELLO FROM DAEMON\n", 18) < 0)
        return 5;
    return 7;
}
