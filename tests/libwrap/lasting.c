/*
 * How does the library do in a program that lasts, and in one of many threads?
 *
 * usage: lasting calls DIRECTORY COUNT      so many decisions in one process: neither memory nor
 *                                           descriptors get more
 *        lasting threads DIRECTORY SECONDS  eight threads, each with clients of its own: every answer is
 *                                           that of the thread's own question
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#define INET6
#define HAVE_WEAKSYMS
#include "tcpd.h"

int allow_severity = LOG_INFO;
int deny_severity = LOG_WARNING;

/* What is said is only counted. */
static atomic_int said;

void __syslog_chk(int priority, int flag, const char *format, ...);
void __vsyslog_chk(int priority, int flag, const char *format, va_list values);

void vsyslog(int priority, const char *format, va_list values)
{
    (void) priority;
    (void) format;
    (void) values;
    atomic_fetch_add(&said, 1);
}

void syslog(int priority, const char *format, ...)
{
    (void) priority;
    (void) format;
    atomic_fetch_add(&said, 1);
}

void __syslog_chk(int priority, int flag, const char *format, ...)
{
    (void) flag;
    syslog(priority, "%s", format);
}

void __vsyslog_chk(int priority, int flag, const char *format, va_list values)
{
    (void) flag;
    vsyslog(priority, format, values);
}

static void give_up(const char *why)
{
    printf("FAILED: %s\n", why);
    exit(1);
}

static char *text(const char *constant)
{
    return (char *) (size_t) constant;
}

static char *table(const char *directory, const char *name, const char *rules)
{
    char *path = NULL;
    FILE *file;
    if (asprintf(&path, "%s/%s", directory, name) < 0 || !(file = fopen(path, "w")))
        give_up("no table");
    if (fputs(rules, file) < 0 || fclose(file))
        give_up("no table");
    return path;
}

/* ---------------------------------------------------------------------------------------- calls */

static const char allow_rules[] =
    "sshd: 10.0.0.0/255.0.0.0 192.168.1. 172.16.0.0/255.255.0.0\n"
    "in.telnetd: 10.1.2.3, 10.1.2.4, 10.1.2.5\n"
    "in.ftpd: 192.168.1.0/255.255.255.0 EXCEPT 192.168.1.77\n"
    "rpcbind: 10.0.0. 10.0.1.\n"
    "in.tftpd: 10.9.0.0/255.255.0.0\n"
    "vsftpd, proftpd: 172.16. 172.17. : severity local2.info\n"
    "smtp: 203.0.113.0/255.255.255.0\n"
    "ALL: 198.51.100.7\n"
    "ALL: 10.20.30.0/255.255.255.0, [2001:db8:20::]/48\n"
    "in.testd: 192.0.2.1\n";
static const char deny_rules[] =
    "in.rexecd: ALL\n"
    "in.rlogind: ALL\n"
    "in.rshd: ALL EXCEPT 10.0.0.\n"
    "sshd: 192.0.2.0/255.255.255.0\n"
    "ALL: 192.0.2.66\n"
    "ALL: 192.0.2.77, 192.0.2.78\n"
    "ALL: 198.51.100.128/255.255.255.128\n"
    "ALL: [2001:db8:bad::]/48\n"
    "ALL EXCEPT sshd: 203.0.113.9\n"
    "ALL: 192.0.2.99: setenv LAST %a\n";

static const struct { const char *address; int granted; } callers[] = {
    { "192.0.2.1", 1 }, { "192.0.2.66", 0 }, { "192.0.2.5", 1 }, { "2001:db8:bad::7", 0 }, { "192.0.2.99", 0 },
};
#define CALLERS (sizeof callers / sizeof *callers)
/* After so many calls, whatever is kept has been kept. */
#define WARM_UP 10000
/* Between the warm-up and the 100,000th call some 250 kB are taken once more, and nothing after that; a byte
 * kept in each of a million calls would be 240 pages. */
#define FEW_PAGES 100

static long pages_in_memory(void)
{
    long size, resident_pages;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &resident_pages) != 2 || fclose(file))
        give_up("/proc/self/statm");
    return resident_pages;
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (list && readdir(list))
        count++;
    closedir(list);
    return count;
}

static void ask(long call)
{
    struct request_info request;
    size_t caller = (size_t) call % CALLERS;
    request_init(&request, RQ_DAEMON, "in.testd", RQ_CLIENT_ADDR, callers[caller].address, 0);
    if (hosts_access(&request) != callers[caller].granted)
        give_up("another answer");
}

static void many_calls(const char *directory, long count)
{
    long call, pages;
    int descriptors;
    hosts_allow_table = table(directory, "calls.allow", allow_rules);
    hosts_deny_table = table(directory, "calls.deny", deny_rules);
    for (call = 0; call < WARM_UP; call++)
        ask(call);
    pages = pages_in_memory();
    descriptors = open_descriptors();
    for (; call < count; call++)
        ask(call);
    printf("%ld calls: %+ld pages, %+d descriptors, %d lines\n", count, pages_in_memory() - pages,
           open_descriptors() - descriptors, said);
    if (pages_in_memory() - pages > FEW_PAGES)
        give_up("memory grows");
    if (open_descriptors() != descriptors)
        give_up("descriptors stay open");
    if (said)
        give_up("something was said");
}

/* -------------------------------------------------------------------------------------- threads */

enum { THREADS = 8 };
static atomic_bool over;
static atomic_long rounds[THREADS];

/* By number and by name; what is not granted is refused. A command now and then. */
static void thread_rules(const char *directory)
{
    char *rules = NULL, *list;
    size_t length;
    FILE *out = open_memstream(&rules, &length);
    list = table(directory, "threads.list", ".t2.example.com 10.0.2.0/255.255.255.0\n");
    for (int number = 0; number < THREADS; number += 2)
        if (number != 2)
            fprintf(out, "t%d: 10.0.%d. .t%d.example.com\n", number, number, number);
    fprintf(out, "t2: %s\n", list);
    fprintf(out, "run: 10.0.0.1: spawn test t = %%d -o run = %%d: aclexec test %%a = 10.0.0.1\n");
    fprintf(out, "run: 10.0.0.2: aclexec false\n");
    fprintf(out, "wrong: ALL: nonsense\n");
    fclose(out);
    hosts_allow_table = table(directory, "threads.allow", rules);
    hosts_deny_table = table(directory, "threads.deny", "ALL: ALL\n");
    free(rules);
    free(list);
}

static void expect(int truth, int thread, const char *what)
{
    if (!truth) {
        printf("FAILED: thread %d: %s\n", thread, what);
        fflush(stdout);
        _exit(1);
    }
}

/* One client of this thread, in three ways. */
static void one_client(int number, long round)
{
    struct request_info request;
    struct sockaddr_in end = { .sin_family = AF_INET, .sin_port = htons((unsigned short) (1000 + number)) };
    char daemon[16], address[32], name[64], user[16], wanted[256], buffer[256];
    int granted = number % 2 == 0;
    snprintf(daemon, sizeof daemon, "t%d", number);
    snprintf(address, sizeof address, "10.0.%d.%ld", number, round % 250 + 1);
    snprintf(name, sizeof name, "host%ld.t%d.example.com", round, number);
    snprintf(user, sizeof user, "user%d", number);

    /* By its address alone. */
    request_init(&request, RQ_DAEMON, daemon, RQ_CLIENT_ADDR, address, RQ_CLIENT_SIN, &end, 0);
    expect(hosts_access(&request) == granted, number, "by address");
    snprintf(wanted, sizeof wanted, "%s", address);
    expect(!strcmp(eval_hostaddr(request.client), wanted), number, "address");

    /* By its name alone. */
    request_init(&request, RQ_DAEMON, daemon, RQ_CLIENT_ADDR, "192.0.2.7", RQ_CLIENT_NAME, name, 0);
    request_set(&request, RQ_USER, user, RQ_SERVER_NAME, daemon, 0);
    expect(hosts_access(&request) == granted, number, "by name");
    snprintf(wanted, sizeof wanted, "%s@%s", user, name);
    expect(!strcmp(eval_client(&request), wanted), number, "client");
    snprintf(wanted, sizeof wanted, "%s@%s", daemon, daemon);
    expect(!strcmp(eval_server(&request), wanted), number, "server");
    percent_x(buffer, sizeof buffer, text("%c|%d|%n"), &request);
    snprintf(wanted, sizeof wanted, "%s@%s|%s|%s", user, name, daemon, name);
    expect(!strcmp(buffer, wanted), number, "expansion");
    snprintf(wanted, sizeof wanted, "%d", 1000 + number);
    expect(!strcmp(eval_port((struct sockaddr *) &end), wanted), number, "port");

    /* As somebody else's service. */
    snprintf(daemon, sizeof daemon, "t%d", (number + 2) % THREADS);
    expect(hosts_ctl(daemon, name, address, user) == 0, number, "as another service");
    expect(hosts_ctl(text("wrong"), name, address, user) == 0, number, "by a rule with an error");
}

static void *work(void *argument)
{
    int number = (int) (size_t) argument;
    char words[] = "one two three", copy[sizeof words], *rest = NULL;
    static const char *const wanted[] = { "one", "two", "three" };
    size_t word = 3;
    for (long round = 0; !atomic_load(&over); round++) {
        one_client(number, round);
        /* The place in the text is this thread's own, across calls. */
        if (word == 3) {
            memcpy(copy, words, sizeof words);
            word = 0;
        }
        {
            char *next = strtok_r(word ? NULL : copy, " ", &rest);
            expect(next && !strcmp(next, wanted[word]), number, "strtok_r");
            word++;
        }
        if (number < 2 && round % 64 == 0) {
            expect(hosts_ctl(text("run"), text("a.b"), text("10.0.0.1"), text("joe")) == 1, number, "command");
            expect(hosts_ctl(text("run"), text("a.b"), text("10.0.0.2"), text("joe")) == 0, number, "command");
        }
        atomic_fetch_add(&rounds[number], 1);
    }
    return NULL;
}

static void many_threads(const char *directory, long seconds)
{
    pthread_t threads[THREADS];
    struct timespec pause = { seconds, 0 };
    long all = 0;
    int descriptors;
    thread_rules(directory);
    descriptors = open_descriptors();
    for (size_t number = 0; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, work, (void *) number))
            give_up("no thread");
    nanosleep(&pause, NULL);
    /* Under a tool that lets one thread run at a time, the last may not have had its turn yet. */
    for (int wait = 0; wait < 3000; wait++) {
        int ready = 1;
        for (int number = 0; number < THREADS; number++)
            ready &= atomic_load(&rounds[number]) > 0;
        if (ready)
            break;
        nanosleep(&(struct timespec) { 0, 10000000 }, NULL);
    }
    atomic_store(&over, 1);
    for (int number = 0; number < THREADS; number++) {
        pthread_join(threads[number], NULL);
        if (rounds[number] == 0)
            give_up("a thread did nothing");
        all += rounds[number];
    }
    if (open_descriptors() != descriptors)
        give_up("descriptors stay open");
    printf("%d threads, %ld rounds\n", THREADS, all);
}

int main(int count, char **words)
{
    /* Whatever waits for ever ends. */
    alarm(900);
    if (count == 4 && !strcmp(words[1], "calls"))
        many_calls(words[2], atol(words[3]));
    else if (count == 4 && !strcmp(words[1], "threads"))
        many_threads(words[2], atol(words[3]));
    else
        return 2;
    return 0;
}
