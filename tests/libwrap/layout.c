/*
 * Is this the header and the data that programs were compiled for?
 *
 * Compiled as C and as C++, with and without INET6 and HAVE_WEAKSYMS. Run, it is a program that brings
 * no severities of its own and looks at what the library brings.
 */
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include "tcpd.h"
/* A second time changes nothing. */
#include "tcpd.h"

#ifdef __cplusplus
#define HOLDS(truth) static_assert(truth, #truth)
#else
#define HOLDS(truth) _Static_assert(truth, #truth)
#endif
#define AT(type, field, where, size) \
    HOLDS(offsetof(struct type, field) == (where)); \
    HOLDS(sizeof(((struct type *) 0)->field) == (size))

#ifdef INET6
typedef struct sockaddr *end;
#else
typedef struct sockaddr_in *end;
#endif

HOLDS(sizeof(struct host_info) == 280);
AT(host_info, name, 0, 128);
AT(host_info, addr, 128, 128);
AT(host_info, sin, 256, 8);
AT(host_info, unit, 264, 8);
AT(host_info, request, 272, 8);

HOLDS(sizeof(struct request_info) == 872);
AT(request_info, fd, 0, 4);
AT(request_info, user, 4, 128);
AT(request_info, daemon, 132, 128);
AT(request_info, pid, 260, 10);
AT(request_info, client, 272, 280);
AT(request_info, server, 552, 280);
AT(request_info, sink, 832, 8);
AT(request_info, hostname, 840, 8);
AT(request_info, hostaddr, 848, 8);
AT(request_info, cleanup, 856, 8);
AT(request_info, config, 864, 8);

HOLDS(sizeof(struct tcpd_context) == 16);
AT(tcpd_context, file, 0, 8);
AT(tcpd_context, line, 8, 4);

HOLDS(STRING_LENGTH == 128);
HOLDS(RQ_FILE == 1);
HOLDS(RQ_DAEMON == 2);
HOLDS(RQ_USER == 3);
HOLDS(RQ_CLIENT_NAME == 4);
HOLDS(RQ_CLIENT_ADDR == 5);
HOLDS(RQ_CLIENT_SIN == 6);
HOLDS(RQ_SERVER_NAME == 7);
HOLDS(RQ_SERVER_ADDR == 8);
HOLDS(RQ_SERVER_SIN == 9);
HOLDS(AC_PERMIT == 1);
HOLDS(AC_DENY == -1);
HOLDS(AC_ERROR == AC_DENY);
HOLDS(sizeof STRING_UNKNOWN == 8);
HOLDS(sizeof STRING_PARANOID == 9);

/* Functions have these types, or this does not compile. */
extern const struct functions {
    int (*hosts_access)(struct request_info *);
    void (*shell_cmd)(char *);
    char *(*percent_x)(char *, int, char *, struct request_info *);
    void (*rfc931)(end, end, char *);
    void (*ends[2])(struct request_info *);
    char *(*xgets)(char *, int, FILE *);
    char *(*split_at)(char *, int);
    unsigned long (*dot_quad_addr)(char *);
    struct request_info *(*requests[2])(struct request_info *, ...);
    int (*hosts_ctl)(char *, char *, char *, char *);
    char *(*of_request[3])(struct request_info *);
    char *(*of_host[3])(struct host_info *);
    char *(*eval_port)(end);
    void (*sock_host)(struct request_info *);
    void (*of_socket[2])(struct host_info *);
    void (*reports[2])(char *, ...);
    void (*process_options)(char *, struct request_info *);
} functions;
const struct functions functions = {
    hosts_access, shell_cmd, percent_x, rfc931, { refuse, clean_exit }, xgets, split_at, dot_quad_addr,
    { request_init, request_set }, hosts_ctl, { eval_user, eval_client, eval_server },
    { eval_hostname, eval_hostaddr, eval_hostinfo }, eval_port, fromhost, { sock_hostname, sock_hostaddr },
    { tcpd_warn, tcpd_jump }, process_options,
};

static int is(const char *text, const char *wanted)
{
    return !strcmp(text, wanted);
}

static char *text(const char *constant)
{
    static char buffer[STRING_LENGTH];
    STRN_CPY(buffer, constant, sizeof buffer);
    return buffer;
}

int main(void)
{
    struct request_info request;
    int *numbers[] = { &hosts_access_verbose, &dry_run, &rfc931_timeout, &resident };
    char **tables[] = { &hosts_allow_table, &hosts_deny_table };
    request_init(&request, RQ_DAEMON, text("in.testd"), 0);
    sock_methods(&request);
    if (request.hostname != sock_hostname || request.hostaddr != sock_hostaddr)
        return 2;
    if (!is(eval_daemon(&request), "in.testd") || &eval_daemon(&request)[0] != &request.daemon[0])
        return 3;
    if (&eval_pid(&request)[0] != &request.pid[0] || !request.pid[0])
        return 4;
    if (!is(unknown, STRING_UNKNOWN) || !is(paranoid, STRING_PARANOID))
        return 5;
    if (HOSTNAME_KNOWN(text("Unknown")) || HOSTNAME_KNOWN(text("PARANOID")) || !HOSTNAME_KNOWN(text("host")))
        return 6;
    if (NOT_INADDR(text("10.1.2.3/255.0.0.0")) || !NOT_INADDR(text("10.1.2.x")) || NOT_INADDR(text("")))
        return 7;
    if (!STR_EQ("a", "A") || STR_NE("a", "A") || !STRN_EQ("ab", "AC", 1) || STRN_NE("ab", "AC", 1))
        return 8;
    if (allow_severity != 6 || deny_severity != 4)
        return 9;
    if (*numbers[0] != 0 || *numbers[1] != 0 || *numbers[2] != 10 || *numbers[3] != -1)
        return 10;
    if (!is(*tables[0], "/etc/hosts.allow") || !is(*tables[1], "/etc/hosts.deny"))
        return 11;
    if (tcpd_context.file || tcpd_context.line)
        return 12;
    /* Programs set these. */
    resident = 1;
    hosts_allow_table = hosts_deny_table = text("/nonexistent/table");
    if (hosts_access(&request) != 1)
        return 13;
    return functions.eval_port(NULL)[0] == '0' ? 0 : 14;
}
