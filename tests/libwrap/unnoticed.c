/*
 * What does a program notice of a decision? The verdict.
 *
 * Whatever a rule does, the program's signals, children, timers, descriptors, environment, umask,
 * directory and its own strtok(3) are as they were. And whatever the program does with its children, a
 * rule's tests decide rightly.
 */
#define _GNU_SOURCE
#include "checks.h"
#include <arpa/inet.h>
#include <limits.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

int allow_severity = LOG_INFO;
int deny_severity = LOG_WARNING;

enum chld { DEFAULT, IGNORED, COUNTED, REAPED, MODES };

static volatile sig_atomic_t child_signals, alarms, reaped_count;
static volatile pid_t reaped[64];

static void count_child(int number)
{
    (void) number;
    child_signals++;
}

static void reap_children(int number)
{
    int before = errno;
    pid_t pid;
    (void) number;
    child_signals++;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        if (reaped_count < (int) COUNT(reaped))
            reaped[reaped_count++] = pid;
    errno = before;
}

static void count_alarm(int number)
{
    (void) number;
    alarms++;
}

static void other(int number)
{
    (void) number;
}

static void set_handler(int number, void (*handler)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGWINCH);
    EXPECT(sigaction(number, &action, NULL) == 0);
}

static void set_child_handler(enum chld mode)
{
    switch (mode) {
    case IGNORED: set_handler(SIGCHLD, SIG_IGN, 0); break;
    case COUNTED: set_handler(SIGCHLD, count_child, SA_RESTART); break;
    case REAPED: set_handler(SIGCHLD, reap_children, 0); break;
    default: set_handler(SIGCHLD, SIG_DFL, 0); break;
    }
}

/* A program with habits of its own. */
static void settle_in(enum chld mode)
{
    struct itimerval timer = { { 7, 0 }, { 1000, 0 } };
    sigset_t blocked;
    set_child_handler(mode);
    set_handler(SIGUSR1, other, SA_RESTART);
    set_handler(SIGPIPE, SIG_IGN, 0);
    set_handler(SIGHUP, other, SA_SIGINFO);
    set_handler(SIGALRM, count_alarm, 0);
    set_handler(SIGTERM, other, SA_NODEFER);
    set_handler(SIGRTMAX, other, SA_ONSTACK);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGTTIN);
    sigaddset(&blocked, SIGRTMIN);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    umask(0123);
    setenv("OWN", "value", 1);
    EXPECT(chdir("/") == 0);
    EXPECT(fcntl(open("/dev/zero", O_RDONLY), F_DUPFD, 40) == 40);
}

/* What a process is, in words that can be compared. */
static char *description(void)
{
    char *words = NULL, where[PATH_MAX];
    size_t length;
    FILE *out = open_memstream(&words, &length);
    sigset_t set;
    struct itimerval timer;
    mode_t mask = umask(0);
    umask(mask);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        if (sigaction(number, NULL, &action))
            continue;
        fprintf(out, "signal %d %p %x", number, (void *) (size_t) action.sa_handler, (unsigned) action.sa_flags);
        for (int masked = 1; masked < NSIG; masked++)
            if (sigismember(&action.sa_mask, masked) == 1)
                fprintf(out, " %d", masked);
        fprintf(out, "\n");
    }
    sigprocmask(SIG_SETMASK, NULL, &set);
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&set, number) == 1)
            fprintf(out, "blocked %d\n", number);
    sigpending(&set);
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&set, number) == 1)
            fprintf(out, "pending %d\n", number);
    getitimer(ITIMER_REAL, &timer);
    /* Minutes pass, but no thousand seconds. */
    fprintf(out, "timer %ld %s\n", (long) timer.it_interval.tv_sec,
            timer.it_value.tv_sec > 800 && timer.it_value.tv_sec <= 1000 ? "runs" : "lost");
    fprintf(out, "umask %o\nnice %d\nin %s\n", (unsigned) mask, getpriority(PRIO_PROCESS, 0),
            getcwd(where, sizeof where));
    for (char **entry = environ; *entry; entry++)
        fprintf(out, "env %p %s\n", (void *) *entry, *entry);
    for (int fd = 0; fd < 256; fd++) {
        char name[64], target[512];
        ssize_t got;
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        got = readlink(name, target, sizeof target - 1);
        if (got > 0)
            fprintf(out, "fd %d %x %x %.*s\n", fd, (unsigned) fcntl(fd, F_GETFD),
                    (unsigned) fcntl(fd, F_GETFL), (int) got, target);
    }
    fclose(out);
    return words;
}

static void is_as_before(const char *before)
{
    char *now = description();
    if (strcmp(before, now)) {
        const char *a = before, *b = now;
        while (*a && *a == *b)
            a++, b++;
        while (a > before && a[-1] != '\n')
            a--, b--;
        printf("was: %.*s\nis:  %.*s\n", (int) strcspn(a, "\n"), a, (int) strcspn(b, "\n"), b);
    }
    EXPECT(!strcmp(before, now));
    free(now);
}

/* A real connection: [0] is the client's end, [1] the server's. */
static void connection(int ends[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT(bind(listener, (struct sockaddr *) &address, length) == 0 && listen(listener, 1) == 0);
    EXPECT(getsockname(listener, (struct sockaddr *) &address, &length) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT(connect(ends[0], (struct sockaddr *) &address, length) == 0);
    ends[1] = accept(listener, NULL, NULL);
    EXPECT(ends[1] >= 0);
    close(listener);
}

/* A network where port 113 of loopback is taken, and nobody speaks. False without the rights to it. */
static int silent_network(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(113) };
    struct ifreq request = { .ifr_name = "lo" };
    int listener;
    if (unshare(CLONE_NEWNET))
        return 0;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    EXPECT(ioctl(listener, SIOCSIFFLAGS, &request) == 0);
    EXPECT(bind(listener, (struct sockaddr *) &address, sizeof address) == 0 && listen(listener, 8) == 0);
    return 1;
}

/* One decision by a rule with these options, and whether the program is what it was. */
static void leaves_the_program_alone(const char *options, enum chld mode, int granted)
{
    char allow[4096], *before, words[] = "one two";
    int ends[2], answer;
    struct request_info *request = fresh();
    mkdir(path("banners"), 0755);
    write_file("banners/in.testd", "Hello %a\n");
    snprintf(allow, sizeof allow, options, directory);
    rules(allow, "ALL: ALL\n");
    settle_in(mode);
    connection(ends);
    request_set(request, RQ_DAEMON, "in.testd", RQ_FILE, ends[1], 0);
    sock_host(request);
    EXPECT(!strcmp(strtok(words, " "), "one"));
    before = description();
    answer = hosts_access(request);
    is_as_before(before);
    free(before);
    EXPECT(answer == granted);
    EXPECT(child_signals == 0 && reaped_count == 0 && alarms == 0);
    /* No child is left, of whatever kind. */
    EXPECT(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
    if (!is_reference) {
        char *next = strtok(NULL, " ");
        EXPECT(next && !strcmp(next, "two"));
    }
    close(ends[0]);
    close(ends[1]);
}

#define QUIET_CHECKS(name, options, granted) \
    static void name##_default(void) { leaves_the_program_alone(options, DEFAULT, granted); } \
    static void name##_ignored(void) { leaves_the_program_alone(options, IGNORED, granted); } \
    static void name##_counted(void) { leaves_the_program_alone(options, COUNTED, granted); } \
    static void name##_reaped(void) { leaves_the_program_alone(options, REAPED, granted); }

QUIET_CHECKS(plain, "ALL: ALL\n", 1)
QUIET_CHECKS(spawn, "ALL: ALL: spawn exit 3\n", 1)
QUIET_CHECKS(spawns, "ALL: ALL: spawn true: spawn kill -9 $$: spawn false\n", 1)
QUIET_CHECKS(aclexec_true, "ALL: ALL: aclexec true\n", 1)
QUIET_CHECKS(aclexec_false, "ALL: ALL: aclexec false\n", 0)
QUIET_CHECKS(aclexec_killed, "ALL: ALL: aclexec kill -9 $$\n", 0)
QUIET_CHECKS(banners, "ALL: ALL: banners %s/banners\n", 1)
QUIET_CHECKS(wrong, "ALL: ALL: nonsense\n", 0)
QUIET_CHECKS(ident, "ALL: ALL: rfc931 1\n", 1)
QUIET_CHECKS(lists, "ALL: /nonexistent, /etc/passwd, @group, ALL: keepalive: linger 5\n", 1)
QUIET_CHECKS(all, "ALL: ALL: spawn true: aclexec true: rfc931 1: banners %s/banners: deny\n", 0)

static void silent_ident(enum chld mode)
{
    rfc931_timeout = 1;
    if (silent_network())
        leaves_the_program_alone("ALL: unknown@ALL: rfc931 1: spawn true\n", mode, 1);
    else
        printf("SKIPPED %s: needs root, for a network where nobody answers\n", running);
}

static void silent_ident_default(void) { silent_ident(DEFAULT); }
static void silent_ident_reaped(void) { silent_ident(REAPED); }

/* Decisions by a test, however the program treats its children. */
static void decides_by_tests(enum chld mode)
{
    const struct { const char *options; int granted; } cases[] = {
        { "ALL: ALL: aclexec true\n", 1 },
        { "ALL: ALL: aclexec false\n", 0 },
        { "ALL: ALL: aclexec exit 0\n", 1 },
        { "ALL: ALL: aclexec exit 126\n", 0 },
        { "ALL: ALL: aclexec kill -9 $$\n", 0 },
        { "ALL: ALL: spawn false: aclexec true: spawn false\n", 1 },
        { "ALL: ALL: spawn true: aclexec false: spawn true\n", 0 },
    };
    set_child_handler(mode);
    for (size_t index = 0; index < COUNT(cases); index++) {
        rules(cases[index].options, "ALL: ALL\n");
        EXPECT(hosts_access(stated()) == cases[index].granted);
        EXPECT(started("aclexec") == 1);
    }
}

static void tests_decide_default(void) { decides_by_tests(DEFAULT); }
static void tests_decide_ignored(void) { decides_by_tests(IGNORED); }
static void tests_decide_counted(void) { decides_by_tests(COUNTED); }
static void tests_decide_reaped(void) { decides_by_tests(REAPED); }

/* A child of the program's own that has ended is the program's to wait for. */
static void own_child_waits(const char *options)
{
    siginfo_t ended;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    EXPECT(waitid(P_PID, (id_t) child, &ended, WEXITED | WNOWAIT) == 0);
    rules(options, "");
    EXPECT(hosts_access(stated()) == 1);
    EXPECT(waitpid(child, &status, WNOHANG) == child && WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

static void own_child_and_spawn(void) { own_child_waits("ALL: ALL: spawn true\n"); }
static void own_child_and_test(void) { own_child_waits("ALL: ALL: aclexec true\n"); }

/* One that ends later raises its signal, and a handler gets nobody else's. */
static void own_child_later(const char *options)
{
    int ends[2];
    char byte;
    pid_t child;
    set_child_handler(REAPED);
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    child = fork();
    if (child == 0) {
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) < 0);
    }
    rules(options, "");
    EXPECT(hosts_access(stated()) == 1);
    EXPECT(child_signals == 0 && reaped_count == 0);
    close(ends[1]);
    for (int wait = 0; wait < 1000 && reaped_count == 0; wait++) {
        struct timespec moment = { 0, 10000000 };
        nanosleep(&moment, NULL);
    }
    EXPECT(reaped_count == 1 && reaped[0] == child);
}

static void own_child_later_and_spawn(void) { own_child_later("ALL: ALL: spawn true\n"); }
static void own_child_later_and_test(void) { own_child_later("ALL: ALL: aclexec true\n"); }

/* Commands have the null device, and nothing else that is the program's. */
static void commands_are_alone(const char *option)
{
    char allow[4096], line[512], *report = path("report");
    sigset_t blocked;
    int seen = 0;
    FILE *file;
    unlink(report);
    EXPECT(fcntl(open("/dev/zero", O_RDONLY), F_DUPFD, 50) >= 50);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    snprintf(allow, sizeof allow, "ALL: ALL: %s exec 9>%s; (ls -l /proc/$$/fd >&9; true); true\n", option, report);
    rules(allow, "");
    EXPECT(hosts_access(stated()) == 1);
    file = fopen(report, "r");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file)) {
        char *arrow = strstr(line, " -> "), *number = arrow;
        if (!arrow)
            continue;
        while (number > line && number[-1] != ' ')
            number--;
        seen++;
        /* 9 is the report, and a shell keeps something for itself from 10 on. */
        EXPECT(atoi(number) <= 2 ? !strcmp(arrow, " -> /dev/null\n") : atoi(number) >= 9 && atoi(number) <= 12);
    }
    EXPECT(seen >= 4);
}

static void spawns_are_alone(void) { commands_are_alone("spawn"); }
static void tests_are_alone(void) { commands_are_alone("aclexec"); }

/* A thread may be cancelled while it waits for a command: it ends when the decision is made. */
static void *decide_slowly(void *verdict)
{
    *(int *) verdict = hosts_access(stated());
    pthread_testcancel();
    return NULL;
}

static void cancelled_threads_end_themselves_only(void)
{
    pthread_t thread;
    void *ended = NULL;
    int verdict = -1;
    rules("ALL: ALL: spawn sleep 2\n", "");
    EXPECT(pthread_create(&thread, NULL, decide_slowly, &verdict) == 0);
    usleep(500000);
    EXPECT(pthread_cancel(thread) == 0 && pthread_join(thread, &ended) == 0);
    EXPECT(ended == PTHREAD_CANCELED && verdict == 1);
}

/* Without descriptors nobody's name can be found out, and a rule about names would reach nobody. */
static void no_descriptor_is_no_answer(void)
{
    struct rlimit limit;
    struct sockaddr_in client = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct request_info request;
    int last, taken[64], count = 0;
    request_init(&request, RQ_DAEMON, "d", RQ_CLIENT_SIN, &client, 0);
    sock_methods(&request);
    rules("", "ALL: nobody.example.net\n");
    last = open("/dev/null", O_RDONLY);
    EXPECT(last >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t) last + 3;
    EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (count < (int) COUNT(taken) && (taken[count] = dup(last)) >= 0)
        count++;
    /* Two are left: enough for a table, and not for a lookup beside it. */
    EXPECT(count >= 2 && close(taken[count - 1]) == 0 && close(taken[count - 2]) == 0);
    EXPECT(hosts_access(&request) == 0);
    EXPECT(logged("too few descriptors"));
}

/* ------------------------------------------------------------------------------------------- list */

#define QUIET(name, only) \
    { #name " (SIGCHLD default)", name##_default, only }, { #name " (SIGCHLD ignored)", name##_ignored, only }, \
    { #name " (SIGCHLD handled)", name##_counted, only }, { #name " (children reaped)", name##_reaped, only }
#define ALL(name) { #name, name, 0 }
#define OURS(name) { #name, name, 1 }

static const struct check checks[] = {
    QUIET(plain, 0),
    QUIET(spawn, 0),
    QUIET(spawns, 0),
    QUIET(aclexec_true, 1),
    QUIET(aclexec_false, 1),
    QUIET(aclexec_killed, 1),
    QUIET(banners, 0),
    QUIET(wrong, 0),
    QUIET(ident, 1),
    QUIET(lists, 0),
    QUIET(all, 1),
    OURS(silent_ident_default),
    OURS(silent_ident_reaped),
    ALL(tests_decide_default),
    OURS(tests_decide_ignored),
    ALL(tests_decide_counted),
    ALL(tests_decide_reaped),
    ALL(own_child_and_spawn),
    OURS(own_child_and_test),
    ALL(own_child_later_and_spawn),
    OURS(own_child_later_and_test),
    OURS(spawns_are_alone),
    OURS(tests_are_alone),
    OURS(cancelled_threads_end_themselves_only),
    OURS(no_descriptor_is_no_answer),
};

int main(int count, char **words)
{
    return run_checks(count, words, checks, COUNT(checks));
}
