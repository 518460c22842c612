/*
 * What only C can do for a C interface: variables of exact size, some of them weak; functions with a
 * variable number of arguments; longjmp(3); and calls of functions that the program may have replaced by
 * its own, which go through the dynamic linker because they are not defined here. Nothing is decided in
 * this file. Everything it calls (wrap_...) is in Rust, next door, and is not exported.
 *
 * No frame of Rust is ever jumped over: Rust returns the number first, and the jump is made here.
 */

#undef _FORTIFY_SOURCE
#define INET6 1
#include "tcpd.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <syslog.h>

/* ------------------------------------------------------------------------------------ variables */

/* A program may define these two itself, or leave it: the linker takes its own before a weak one. */
int allow_severity __attribute__((weak)) = LOG_INFO;
int deny_severity __attribute__((weak)) = LOG_WARNING;

/* A program that wants other tables points these elsewhere; that they still point here says it has not. */
char wrap_allow_default[] = "/etc/hosts.allow";
char wrap_deny_default[] = "/etc/hosts.deny";
char *hosts_allow_table = wrap_allow_default;
char *hosts_deny_table = wrap_deny_default;

int hosts_access_verbose = 0;
int dry_run = 0;
int resident = -1;
int rfc931_timeout = 10;
char unknown[] = STRING_UNKNOWN;
char paranoid[] = STRING_PARANOID;
struct tcpd_context tcpd_context;
jmp_buf tcpd_buf;

/* ------------------------------------------------------------------------------ requests by keys */

void wrap_init(struct request_info *);
void wrap_set_file(struct request_info *, int);
void wrap_set_address(struct request_info *, int key, struct sockaddr *);
void wrap_set_text(struct request_info *, int key, const char *);
void wrap_unknown_key(struct request_info *, int key);

/* What follows an unknown key cannot be known, not even its size: nothing behind it is read. */
static struct request_info *set(struct request_info *request, va_list pairs)
{
    int key;

    while ((key = va_arg(pairs, int)) > 0) {
        switch (key) {
        case RQ_FILE:
            wrap_set_file(request, va_arg(pairs, int));
            break;
        case RQ_CLIENT_SIN:
        case RQ_SERVER_SIN:
            wrap_set_address(request, key, va_arg(pairs, struct sockaddr *));
            break;
        case RQ_DAEMON:
        case RQ_USER:
        case RQ_CLIENT_NAME:
        case RQ_CLIENT_ADDR:
        case RQ_SERVER_NAME:
        case RQ_SERVER_ADDR:
            wrap_set_text(request, key, va_arg(pairs, const char *));
            break;
        default:
            wrap_unknown_key(request, key);
            return request;
        }
    }
    return request;
}

struct request_info *request_init(struct request_info *request, ...)
{
    va_list pairs;

    wrap_init(request);
    va_start(pairs, request);
    set(request, pairs);
    va_end(pairs);
    return request;
}

struct request_info *request_set(struct request_info *request, ...)
{
    va_list pairs;

    va_start(pairs, request);
    set(request, pairs);
    va_end(pairs);
    return request;
}

/* ------------------------------------------------------------------------------------ complaints */

void wrap_complain(int is_error, const char *text);

/* vsnprintf(3) knows %m. */
static void complain(int is_error, const char *format, va_list values)
{
    char text[8192];

    if (format == 0 || vsnprintf(text, sizeof text, format, values) < 0)
        text[0] = 0;
    wrap_complain(is_error, text);
}

/* A program that has not called setjmp(3) cannot be jumped back into. */
static void jump(int to)
{
    static const jmp_buf never;

    if (memcmp(tcpd_buf, never, sizeof tcpd_buf) != 0)
        longjmp(tcpd_buf, to);
}

void tcpd_warn(char *format, ...)
{
    va_list values;

    va_start(values, format);
    complain(0, format, values);
    va_end(values);
}

void tcpd_jump(char *format, ...)
{
    va_list values;

    va_start(values, format);
    complain(1, format, values);
    va_end(values);
    jump(AC_ERROR);
}

int wrap_process_options(const char *options, struct request_info *);

void process_options(char *options, struct request_info *request)
{
    int verdict = wrap_process_options(options, request);

    if (verdict != 0)
        jump(verdict);
}

/* ------------------------------------------------- functions that may be the program's own by now */

void wrap_call_shell_cmd(char *command)
{
    shell_cmd(command);
}

void wrap_call_clean_exit(struct request_info *request)
{
    clean_exit(request);
}

void wrap_call_rfc931(struct sockaddr *client, struct sockaddr *server, char *user)
{
    rfc931(client, server, user);
}

void wrap_set_methods(struct request_info *request)
{
    sock_methods(request);
}

int wrap_is_own_hostname(void (*method)(struct host_info *))
{
    return method == sock_hostname;
}

int wrap_is_own_hostaddr(void (*method)(struct host_info *))
{
    return method == sock_hostaddr;
}
