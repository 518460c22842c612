/*
 * How is a list of checks run?
 *
 * Each check has a process of its own, so that a crash, an exit or a loop fails that check and no other.
 * A program that includes this file is called as `program DIRECTORY [reference]`: the directory is for its
 * files, and `reference` leaves out what only the library of this house promises. It prints a line for
 * each check, and its status is 0 if none failed.
 */
#ifndef CHECKS_H
#define CHECKS_H

#include "record.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#define INET6
#define HAVE_WEAKSYMS
#include "tcpd.h"

#define PATIENCE_SECONDS 60

struct check {
    const char *name;
    void (*run)(void);
    /* Not 0: TCP Wrapper's own library fails it, or does otherwise. */
    int only_ours;
};

static const char *directory;
static int is_reference;
static const char *running;

static inline void fail(const char *file, int line, const char *what)
{
    printf("%s: %s:%d: %s\n", running, file, line, what);
    for (const struct entry *entry = record_next(NULL); entry; entry = record_next(entry))
        printf("    noted: %s %d %.200s\n", entry->kind, entry->number, record_text(entry));
    fflush(stdout);
    _exit(1);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define EXPECT(truth) ((truth) ? (void) 0 : fail(__FILE__, __LINE__, #truth))

/* Not const, because the interface is not. */
static inline char *text(const char *constant)
{
    return (char *) (size_t) constant;
}

static inline char *path(const char *name)
{
    char *whole = NULL;
    EXPECT(asprintf(&whole, "%s/%s", directory, name) > 0);
    return whole;
}

static inline void write_file(const char *name, const char *content)
{
    char *whole = path(name);
    FILE *file = fopen(whole, "w");
    EXPECT(file && fputs(content, file) >= 0 && fclose(file) == 0);
    free(whole);
}

/* Puts rules in force, and forgets what was noted. A name of its own for each process: checks may leave
 * commands behind that are still running. */
static inline void rules(const char *allow, const char *deny)
{
    char name[64];
    snprintf(name, sizeof name, "allow-%d", (int) getpid());
    write_file(name, allow);
    hosts_allow_table = path(name);
    snprintf(name, sizeof name, "deny-%d", (int) getpid());
    write_file(name, deny);
    hosts_deny_table = path(name);
    record->length = 0;
}

/* The first line that was logged with these words in it, or any line at all. */
static inline const struct entry *logged(const char *words)
{
    for (const struct entry *entry = record_next(NULL); entry; entry = record_next(entry))
        if (!strcmp(entry->kind, "log") && (!words || strstr(record_text(entry), words)))
            return entry;
    return NULL;
}

/* Whether somebody was told of trouble. */
static inline int complained(void)
{
    for (const struct entry *entry = record_next(NULL); entry; entry = record_next(entry))
        if (!strcmp(entry->kind, "log") && LOG_PRI(entry->number) <= LOG_WARNING)
            return 1;
    return 0;
}

/* How often a command of this kind was started. */
static inline int started(const char *kind)
{
    int count = 0;
    for (const struct entry *entry = record_next(NULL); entry; entry = record_next(entry))
        count += !strcmp(entry->kind, kind);
    return count;
}

/* Memory that ends where nothing more may be touched. */
static inline void *guarded(size_t size)
{
    size_t page = (size_t) sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page;
    char *start = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(start != MAP_FAILED && !mprotect(start + pages * page, page, PROT_NONE));
    return start + pages * page - size;
}

/* A request full of what was in memory before, then begun. */
static inline struct request_info *fresh(void)
{
    struct request_info *request = guarded(sizeof *request);
    memset(request, 0x55, sizeof *request);
    return request_init(request, 0);
}

/* A client about whom everything is stated. */
static inline struct request_info *stated(void)
{
    struct request_info *request = fresh();
    request_set(request, RQ_DAEMON, "in.testd", RQ_CLIENT_NAME, "host.example.com", 0);
    request_set(request, RQ_CLIENT_ADDR, "192.0.2.7", RQ_USER, "joe", 0);
    request_set(request, RQ_SERVER_NAME, "server.example.com", RQ_SERVER_ADDR, "192.0.2.1", 0);
    return request;
}

static inline int run_one(const struct check *check)
{
    struct timespec moment = { 0, 5000000 };
    int status, waited = 0;
    pid_t child;
    fflush(stdout);
    running = check->name;
    record->length = 0;
    child = fork();
    if (child == 0) {
        record_owner = getpid();
        check->run();
        fflush(stdout);
        _exit(0);
    }
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (++waited > PATIENCE_SECONDS * 200) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            break;
        }
        nanosleep(&moment, NULL);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    printf("FAILED %s: %s %d\n", check->name, WIFEXITED(status) ? "status" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return 1;
}

static inline int run_checks(int count, char **words, const struct check *checks, size_t number)
{
    int failed = 0, left_out = 0;
    if (count < 2) {
        fprintf(stderr, "usage: %s DIRECTORY [reference]\n", words[0]);
        return 2;
    }
    directory = words[1];
    is_reference = count > 2;
    signal(SIGHUP, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    record_open();
    for (size_t index = 0; index < number; index++) {
        if (checks[index].only_ours && is_reference)
            left_out++;
        else
            failed += run_one(&checks[index]);
    }
    printf("%zu checks, %d failed, %d left out\n", number, failed, left_out);
    return failed != 0;
}

#endif
