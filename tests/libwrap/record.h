/*
 * What does a library tell syslogd, and which commands does it start?
 *
 * A program that includes this file has syslog(3), sleep(3) and exec(3) functions of its own, which the
 * library finds before those of the C library. What they are told is kept in memory that forked children
 * share, because a child may have closed every descriptor by the time it starts its command. A command
 * is recorded and then really started.
 */
#ifndef RECORD_H
#define RECORD_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

extern char **environ;

/* One thing that was noted; its text follows. */
struct entry {
    char kind[16];
    int number;
    size_t length;
};

#define RECORD_ROOM ((size_t) 2 << 20)

static struct record {
    atomic_size_t length;
    char room[];
} *record;

/* The process in which a command is a twist; in its children it is a spawn or an aclexec. */
static pid_t record_owner;

static inline void record_open(void)
{
    record = mmap(NULL, RECORD_ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (record == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
}

static inline size_t record_size(size_t length)
{
    return (sizeof(struct entry) + length + 1 + 7) & ~(size_t) 7;
}

static inline void note(const char *kind, int number, const char *text)
{
    struct entry entry = { .kind = "", .number = number, .length = strlen(text) };
    size_t size = record_size(entry.length), at;
    if (!record)
        return;
    at = atomic_fetch_add(&record->length, size);
    if (at + size > RECORD_ROOM - sizeof *record)
        abort();
    snprintf(entry.kind, sizeof entry.kind, "%s", kind);
    memcpy(record->room + at, &entry, sizeof entry);
    memcpy(record->room + at + sizeof entry, text, entry.length + 1);
}

/* The entry behind this one, or the first; NULL at the end. */
static inline const struct entry *record_next(const struct entry *entry)
{
    const char *at = entry ? (const char *) entry + record_size(entry->length) : record->room;
    return (size_t) (at - record->room) < record->length ? (const struct entry *) (const void *) at : NULL;
}

static inline const char *record_text(const struct entry *entry)
{
    return (const char *) (entry + 1);
}

static inline void record_line(int priority, const char *format, va_list arguments)
{
    int before = errno;
    char *line = NULL;
    if (vasprintf(&line, format, arguments) < 0)
        abort();
    note("log", priority, line);
    free(line);
    errno = before;
}

void syslog(int priority, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record_line(priority, format, arguments);
    va_end(arguments);
}

void vsyslog(int priority, const char *format, va_list arguments)
{
    record_line(priority, format, arguments);
}

void __syslog_chk(int priority, int flag, const char *format, ...);
void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list arguments;
    (void) flag;
    va_start(arguments, format);
    record_line(priority, format, arguments);
    va_end(arguments);
}

void __vsyslog_chk(int priority, int flag, const char *format, va_list arguments);
void __vsyslog_chk(int priority, int flag, const char *format, va_list arguments)
{
    (void) flag;
    record_line(priority, format, arguments);
}

/* Nobody waits for a penalty here. */
unsigned int sleep(unsigned int seconds)
{
    note("slept", (int) seconds, "");
    return 0;
}

/* Only the child of a spawn ignores SIGHUP, in the reference as in ours. */
static inline void record_command(char *const *words)
{
    struct sigaction hangup;
    const char *kind = "twist";
    if (getpid() != record_owner) {
        sigaction(SIGHUP, NULL, &hangup);
        kind = hangup.sa_handler == SIG_IGN ? "spawn" : "aclexec";
    }
    note(kind, 0, words[0] && words[1] && words[2] ? words[2] : "");
}

int execve(const char *path, char *const *words, char *const *environment)
{
    record_command(words);
    return (int) syscall(SYS_execve, path, words, environment);
}

int execv(const char *path, char *const *words)
{
    return execve(path, words, environ);
}

int execl(const char *path, const char *word, ...)
{
    char *words[16] = { (char *) (size_t) word };
    size_t count = 1;
    va_list rest;
    va_start(rest, word);
    while (count < 15 && (words[count] = va_arg(rest, char *)))
        count++;
    va_end(rest);
    words[count] = NULL;
    return execve(path, words, environ);
}

#endif
