/*
 * What does the library answer to a pair of tables and a request, and what does it leave behind?
 *
 * usage: vectors [NETGROUP-FILE]
 *
 * Cases come on standard input, a line `key hex` for each thing that is stated and a line `run` behind
 * them; each runs in a process of its own. What was seen comes on standard output, a line
 * `kind number hex` for each thing, and a line `end` behind them. `netgroup` is written to the file
 * that is named on the command line: which file the C library reads is for the caller to arrange.
 * With WARM_UP in the environment, a first decision is made before there is any case.
 */
#define _GNU_SOURCE
#include "record.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#define INET6
#define HAVE_WEAKSYMS
#include "tcpd.h"

/* Status of a case that got to the end of its work. */
#define RETURNED 77
/* No case takes longer, under any tool. */
#define PATIENCE_MS 120000

int allow_severity = LOG_INFO;
int deny_severity = LOG_WARNING;

enum key {
    DIRECTORY, ALLOW, DENY, DAEMON, CLIENT_NAME, CLIENT_ADDR, USER, SERVER_NAME, SERVER_ADDR,
    CLIENT_PORT, SERVER_PORT, RESIDENT, CALLS, UID, VERBOSE, DRY_RUN, HOSTS_CTL, NO_FD, NETGROUP, KEYS
};

static const char *const names[KEYS] = {
    [DIRECTORY] = "directory", [ALLOW] = "allow", [DENY] = "deny", [DAEMON] = "daemon",
    [CLIENT_NAME] = "client_name", [CLIENT_ADDR] = "client_addr", [USER] = "user",
    [SERVER_NAME] = "server_name", [SERVER_ADDR] = "server_addr", [CLIENT_PORT] = "client_port",
    [SERVER_PORT] = "server_port", [RESIDENT] = "resident", [CALLS] = "calls", [UID] = "uid",
    [VERBOSE] = "verbose", [DRY_RUN] = "dry_run", [HOSTS_CTL] = "hosts_ctl", [NO_FD] = "no_fd",
    [NETGROUP] = "netgroup",
};

/* What the case states; NULL where it states nothing. */
static char *stated[KEYS];

static int stated_number(enum key key, int otherwise)
{
    return stated[key] ? atoi(stated[key]) : otherwise;
}

static void give_up(const char *what)
{
    perror(what);
    exit(2);
}

/* Settings and the state of the process and the socket. */
enum { LEFT = 10 };
static const char *const left_names[LEFT] = {
    "allow_severity", "deny_severity", "rfc931_timeout", "umask", "nice", "uid", "gid", "linger_on",
    "linger", "keepalive",
};

static void look_around(int fd, int *left)
{
    struct linger linger = { 0, 0 };
    socklen_t length = sizeof linger;
    int keepalive = 0;
    mode_t mask = umask(0);
    umask(mask);
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length);
    length = sizeof keepalive;
    getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &length);
    left[0] = allow_severity;
    left[1] = deny_severity;
    left[2] = rfc931_timeout;
    left[3] = (int) mask;
    left[4] = getpriority(PRIO_PROCESS, 0);
    left[5] = (int) geteuid();
    left[6] = (int) getegid();
    left[7] = linger.l_onoff;
    left[8] = linger.l_linger;
    left[9] = keepalive;
}

static int by_hosts_ctl(void)
{
    return hosts_ctl(stated[DAEMON], stated[CLIENT_NAME], stated[CLIENT_ADDR], stated[USER]);
}

static int by_hosts_access(int fd)
{
    static const struct { enum key key; int attribute; } strings[] = {
        { DAEMON, RQ_DAEMON }, { CLIENT_NAME, RQ_CLIENT_NAME }, { CLIENT_ADDR, RQ_CLIENT_ADDR },
        { USER, RQ_USER }, { SERVER_NAME, RQ_SERVER_NAME }, { SERVER_ADDR, RQ_SERVER_ADDR },
    };
    static const struct { enum key key; int attribute; } ports[] = {
        { CLIENT_PORT, RQ_CLIENT_SIN }, { SERVER_PORT, RQ_SERVER_SIN },
    };
    struct request_info request;
    struct sockaddr_in ends[2];
    memset(&request, 0x55, sizeof request);
    request_init(&request, 0);
    if (!stated[NO_FD])
        request_set(&request, RQ_FILE, fd, 0);
    for (size_t index = 0; index < sizeof strings / sizeof *strings; index++)
        if (stated[strings[index].key])
            request_set(&request, strings[index].attribute, stated[strings[index].key], 0);
    for (size_t index = 0; index < 2; index++) {
        memset(&ends[index], 0, sizeof ends[index]);
        ends[index].sin_family = AF_INET;
        ends[index].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ends[index].sin_port = htons((unsigned short) stated_number(ports[index].key, 0));
        if (stated[ports[index].key])
            request_set(&request, ports[index].attribute, &ends[index], 0);
    }
    errno = 0;
    return hosts_access(&request);
}

/* The case itself, in its own process. */
static void behave(int fd)
{
    int before[LEFT], after[LEFT], pipes[2], null = open("/dev/null", O_RDWR);
    if (pipe(pipes) || dup2(pipes[0], 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        _exit(99);
    close(pipes[0]);
    close(pipes[1]);
    if (null > 2)
        close(null);
    record_owner = getpid();
    if (chdir(stated[DIRECTORY]) || clearenv() || setenv("PATH", "/usr/bin:/bin", 1))
        _exit(98);
    umask(027);
    look_around(fd, before);
    hosts_allow_table = stated[ALLOW];
    hosts_deny_table = stated[DENY];
    resident = stated_number(RESIDENT, resident);
    hosts_access_verbose = stated_number(VERBOSE, 0);
    dry_run = stated_number(DRY_RUN, 0);
    if (stated[UID] && (setgid((gid_t) atoi(stated[UID])) || setuid((uid_t) atoi(stated[UID]))))
        _exit(97);
    for (int call = stated_number(CALLS, 1); call > 0; call--)
        note("returned", stated[HOSTS_CTL] ? by_hosts_ctl() : by_hosts_access(fd), "");
    look_around(fd, after);
    for (int index = 0; index < LEFT; index++)
        if (after[index] != before[index])
            note("after", after[index], left_names[index]);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, "PATH=", 5))
            note("env", 0, *entry);
    _exit(RETURNED);
}

static void say(const char *kind, int number, const char *text, size_t length)
{
    printf("%s %d ", kind, number);
    for (size_t at = 0; at < length; at++)
        printf("%02x", (unsigned char) text[at]);
    putchar('\n');
}

/* What the client sees, until nobody is left who could write to it. */
static void say_output(int near, pid_t child)
{
    char *text = NULL;
    size_t length = 0;
    struct pollfd waiting = { .fd = near, .events = POLLIN, .revents = 0 };
    for (;;) {
        ssize_t got;
        if (poll(&waiting, 1, PATIENCE_MS) <= 0) {
            kill(child, SIGKILL);
            say("hung", 0, "", 0);
            break;
        }
        text = realloc(text, length + 65536);
        got = read(near, text + length, 65536);
        if (got <= 0)
            break;
        length += (size_t) got;
    }
    say("output", 0, text, length);
    free(text);
}

static void run(const char *netgroup_file)
{
    int ends[2], far, status;
    pid_t child;
    if (stated[NETGROUP] && netgroup_file) {
        FILE *file = fopen(netgroup_file, "w");
        if (!file || fputs(stated[NETGROUP], file) < 0 || fclose(file))
            give_up(netgroup_file);
    }
    record->length = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        give_up("socketpair");
    fflush(stdout);
    child = fork();
    if (child < 0)
        give_up("fork");
    if (child == 0) {
        far = fcntl(ends[1], F_DUPFD, 50);
        close(ends[0]);
        close(ends[1]);
        behave(far);
    }
    close(ends[1]);
    say_output(ends[0], child);
    close(ends[0]);
    if (waitpid(child, &status, 0) != child)
        give_up("waitpid");
    for (const struct entry *entry = record_next(NULL); entry; entry = record_next(entry))
        say(entry->kind, entry->number, record_text(entry), entry->length);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != RETURNED)
        say("exit", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), "", 0);
    say("end", (int) child, "", 0);
    fflush(stdout);
    for (int key = 0; key < KEYS; key++) {
        free(stated[key]);
        stated[key] = NULL;
    }
}

static char *unhex(const char *text)
{
    size_t length = strlen(text) / 2;
    char *bytes = malloc(length + 1);
    for (size_t at = 0; at < length; at++) {
        unsigned byte;
        if (sscanf(text + 2 * at, "%2x", &byte) != 1)
            give_up("a case");
        bytes[at] = (char) byte;
    }
    bytes[length] = 0;
    return bytes;
}

/* A decision in this process, which all others begin as: a tool that translates a program as it goes
 * (valgrind) would do that anew for each of them. */
static void warm_up(void)
{
    char name[] = "/tmp/tcpd-warm-XXXXXX";
    int file = mkstemp(name), before = resident;
    static const char rules[] = "x: a.b [::1] 10.0.0.0/8 @g /nowhere LOCAL: deny\nALL EXCEPT y: j@*b.c .d 1.\n";
    if (file < 0 || write(file, rules, sizeof rules - 1) < 0)
        give_up(name);
    hosts_allow_table = hosts_deny_table = name;
    hosts_ctl("in.testd", "host.example.com", "192.0.2.7", "joe");
    close(file);
    unlink(name);
    resident = before;
}

int main(int count, char **words)
{
    char *line = NULL;
    size_t room = 0;
    /* Whoever started this may have had it ignored, and it tells commands apart. */
    signal(SIGHUP, SIG_DFL);
    record_open();
    if (getenv("WARM_UP"))
        warm_up();
    while (getline(&line, &room, stdin) > 0) {
        char *value;
        int key = 0;
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "run")) {
            run(count > 1 ? words[1] : NULL);
            continue;
        }
        value = line + strcspn(line, " ");
        if (*value)
            *value++ = 0;
        while (key < KEYS && strcmp(line, names[key]))
            key++;
        if (key == KEYS) {
            fprintf(stderr, "%s: no such key\n", line);
            return 2;
        }
        free(stated[key]);
        stated[key] = unhex(value);
    }
    free(line);
    return 0;
}
