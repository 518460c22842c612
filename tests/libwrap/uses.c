/*
 * Does the library do what real programs use it for?
 *
 * Servers let it look at their sockets and ask for a verdict; checkers bring functions of their own in
 * place of the library's, and call the parts that a rule is made of. This program does both. It has its
 * own shell_cmd(), clean_exit() and rfc931(), which the library has to call.
 */
#define _GNU_SOURCE
#include "checks.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <strings.h>
#include <sys/socket.h>

int allow_severity = LOG_MAIL | LOG_INFO;
int deny_severity = LOG_AUTH | LOG_NOTICE;
/* Not in tcpd.h. */
extern jmp_buf tcpd_buf;

/* ------------------------------------------------------------------------ functions of our own */

void shell_cmd(char *command)
{
    note("own-command", 0, command);
}

void clean_exit(struct request_info *request)
{
    note("own-end", request ? request->fd : 0, "");
}

/* The name that it finds, and how often it was asked. */
static const char *ident_answer = "jane";

void rfc931(struct sockaddr *client, struct sockaddr *server, char *user)
{
    note("own-ident", client && server, "");
    strcpy(user, ident_answer);
}

static void own_name(struct host_info *host)
{
    note("own-name", host == host->request->client, "");
    strcpy(host->name, host == host->request->client ? "client.example.com" : "server.example.com");
}

static void own_addr(struct host_info *host)
{
    note("own-addr", host == host->request->client, "");
    strcpy(host->addr, host == host->request->client ? "192.0.2.7" : "192.0.2.1");
}

static const char *first(const char *kind)
{
    for (const struct entry *entry = record_next(NULL); entry; entry = record_next(entry))
        if (!strcmp(entry->kind, kind))
            return record_text(entry);
    return NULL;
}

static void own_shell_cmd_is_called(void)
{
    rules("ALL: ALL: spawn echo %a %%: aclexec true\n", "");
    EXPECT(hosts_access(stated()) == 1);
    EXPECT(started("own-command") == 1 && !strcmp(first("own-command"), "echo 192.0.2.7 %"));
    EXPECT(started("spawn") == 0 && started("aclexec") == 1);
}

static void own_clean_exit_is_called(void)
{
    const struct entry *line;
    struct request_info *request = stated();
    request_set(request, RQ_FILE, 77, 0);
    refuse(request);
    line = logged("refused connect from joe@host.example.com");
    EXPECT(line && line->number == deny_severity);
    EXPECT(started("own-end") == 1);
}

static void own_rfc931_is_asked_once(void)
{
    struct sockaddr_in end = { .sin_family = AF_INET };
    struct request_info *request = fresh();
    rules("ALL: jane@192.0.2.7\n", "ALL: ALL\n");
    request_set(request, RQ_CLIENT_ADDR, "192.0.2.7", RQ_CLIENT_SIN, &end, RQ_SERVER_SIN, &end, 0);
    EXPECT(hosts_access(request) == 1);
    EXPECT(started("own-ident") == 1 && !strcmp(eval_user(request), "jane"));
    EXPECT(hosts_access(request) == 1);
    EXPECT(started("own-ident") == 1);
    /* Who has no host for it is not asked, nor about a user that is stated. */
    rules("ALL: jane@192.0.2.8\n", "ALL: ALL\n");
    request_set(request, RQ_USER, "", 0);
    EXPECT(hosts_access(request) == 0);
    rules("ALL: joe@192.0.2.7\n", "ALL: ALL\n");
    request_set(request, RQ_USER, "joe", 0);
    EXPECT(hosts_access(request) == 1);
    EXPECT(started("own-ident") == 0);
    /* With one end only there is nobody to ask. */
    request_set(request, RQ_USER, "", RQ_SERVER_SIN, NULL, 0);
    EXPECT(!strcmp(eval_user(request), "unknown") && started("own-ident") == 0);
}

static void own_methods_are_called_when_needed(void)
{
    struct request_info *request = fresh();
    request->hostname = own_name;
    request->hostaddr = own_addr;
    rules("ALL: 192.0.2.7\n", "ALL: ALL\n");
    EXPECT(hosts_access(request) == 1);
    /* An address costs nothing, so that of the other end may be had, too. */
    EXPECT(started("own-addr") >= 1 && started("own-addr") <= 2 && started("own-name") == 0);
    EXPECT(!strcmp(request->client->addr, "192.0.2.7") && !request->client->name[0]);
    rules("ALL@192.0.2.1: .example.com\n", "ALL: ALL\n");
    EXPECT(hosts_access(request) == 1);
    EXPECT(started("own-addr") <= 1 && started("own-name") == 1);
    EXPECT(!strcmp(request->client->name, "client.example.com") && !request->server->name[0]);
    record->length = 0;
    EXPECT(!strcmp(eval_hostname(request->server), "server.example.com"));
    EXPECT(!strcmp(eval_hostname(request->server), "server.example.com") && started("own-name") == 1);
    EXPECT(!strcmp(eval_hostinfo(request->client), "client.example.com"));
    EXPECT(!strcmp(eval_client(request), "client.example.com"));
}

/* ------------------------------------------------------------------------------ parts of a rule */

/* What process_options() comes to: 1 permits, -1 denies, 0 goes on. */
static int options(const char *words)
{
    /* Kept from the registers that a jump restores. */
    static char *copy;
    int to = setjmp(tcpd_buf);
    if (to == 0) {
        copy = strdup(words);
        record->length = 0;
        process_options(copy, stated());
    }
    free(copy);
    copy = NULL;
    return to;
}

static void options_permit_and_deny(void)
{
    tcpd_context.file = text("table");
    tcpd_context.line = 12;
    EXPECT(options("allow") == 1);
    EXPECT(options("deny") == -1);
    EXPECT(options("severity mail.info") == 0 && allow_severity == (LOG_MAIL | LOG_INFO));
    EXPECT(options("spawn echo %u: allow") == 1 && !strcmp(first("own-command"), "echo joe"));
    EXPECT(options("spawn echo\\: two") == 0 && !strcmp(first("own-command"), "echo: two"));
    EXPECT(options("nonsense") == -1);
    EXPECT(logged("error: table, line 12: bad option name: \"nonsense\""));
    EXPECT(options("allow: deny") == -1);
    EXPECT(logged("error: table, line 12: option \"allow\" must be at end"));
    EXPECT(options("umask 999") == -1 && logged("error: table, line 12: bad umask value: \"999\""));
}

static void options_are_rehearsed(void)
{
    dry_run = 1;
    EXPECT(options("spawn echo no: aclexec false: nice 3: allow") == 1);
    EXPECT(started("own-command") == 0 && started("aclexec") == 0 && dry_run == 1);
    EXPECT(options("twist echo no") == 0);
    EXPECT(started("twist") == 0 && dry_run == 0);
    dry_run = 1;
    hosts_access_verbose = 1;
    EXPECT(options("setenv A %a") == 0);
    EXPECT(logged("option:   setenv A 192.0.2.7"));
}

static void a_rehearsed_verdict_says_delegated(void)
{
    resident = 0;
    dry_run = 1;
    rules("ALL: ALL: twist echo no\n", "");
    EXPECT(hosts_access(stated()) == 1);
    EXPECT(dry_run == 0 && started("twist") == 0);
}

static void jumps_arrive(void)
{
    int to = setjmp(tcpd_buf);
    const struct entry *line;
    tcpd_context.file = text("table");
    tcpd_context.line = 5;
    errno = ENOENT;
    if (to == 0)
        tcpd_jump(text("%s: %m"), "name");
    EXPECT(to == -1);
    line = logged("error: table, line 5: name: No such file or directory");
    EXPECT(line && line->number == LOG_ERR);
}

/* --------------------------------------------------------------------------------- connections */

static void any_port(struct sockaddr_storage *address, socklen_t *length, int family)
{
    memset(address, 0, sizeof *address);
    address->ss_family = (sa_family_t) family;
    if (family == AF_INET) {
        ((struct sockaddr_in *) address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *length = sizeof(struct sockaddr_in);
    } else {
        ((struct sockaddr_in6 *) address)->sin6_addr = in6addr_loopback;
        *length = sizeof(struct sockaddr_in6);
    }
}

/* Both ends of a TCP connection on loopback. False where the family is not to be had. */
static int connected(int family, int mapped, int ends[2])
{
    struct sockaddr_storage address, to;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *) &address;
    socklen_t length, size = sizeof to;
    int listener = socket(mapped ? AF_INET6 : family, SOCK_STREAM, 0);
    any_port(&address, &length, mapped ? AF_INET6 : family);
    if (mapped)
        inet_pton(AF_INET6, "::ffff:127.0.0.1", &six->sin6_addr);
    if (listener < 0 || bind(listener, (struct sockaddr *) &address, length) || listen(listener, 1))
        return 0;
    EXPECT(getsockname(listener, (struct sockaddr *) &to, &size) == 0);
    if (mapped) {
        struct sockaddr_in *four = (struct sockaddr_in *) &to;
        in_port_t port = ((struct sockaddr_in6 *) &to)->sin6_port;
        any_port(&to, &size, AF_INET);
        four->sin_port = port;
    }
    ends[0] = socket(to.ss_family, SOCK_STREAM, 0);
    if (connect(ends[0], (struct sockaddr *) &to, size))
        return 0;
    ends[1] = accept(listener, NULL, NULL);
    close(listener);
    return ends[1] >= 0;
}

/* A server asks about a connection. */
static void looked_at(int family, int mapped, const char *address, const char *pattern)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    char allow[256], port[16], buffer[256], wanted[256];
    int ends[2];
    struct request_info *request = guarded(sizeof *request);
    if (!connected(family, mapped, ends)) {
        printf("SKIPPED %s: no such network here\n", running);
        return;
    }
    snprintf(allow, sizeof allow, "in.testd: %s\n", pattern);
    rules(allow, "ALL: ALL\n");
    request_init(request, RQ_DAEMON, "in.testd", RQ_FILE, ends[1], 0);
    fromhost(request);
    EXPECT(hosts_access(request) == 1);
    EXPECT(!logged(NULL));
    EXPECT(!strcmp(eval_hostaddr(request->client), address));
    EXPECT(!strcmp(eval_hostaddr(request->server), address));
    EXPECT(!strcmp(eval_client(request), address));
    EXPECT(request->sink == NULL && request->client->sin && request->server->sin);
    EXPECT(getpeername(ends[1], (struct sockaddr *) &peer, &length) == 0);
    snprintf(port, sizeof port, "%d", ntohs(((struct sockaddr_in *) &peer)->sin_port));
    EXPECT(!strcmp(eval_port(request->client->sin), port));
    snprintf(wanted, sizeof wanted, "%s %s in.testd", address, port);
    EXPECT(!strcmp(percent_x(buffer, sizeof buffer, text("%a %r %d"), request), wanted));
    rules("", "ALL: ALL\n");
    EXPECT(hosts_access(request) == 0);
}

static void a_connection(void) { looked_at(AF_INET, 0, "127.0.0.1", "127.0.0.1"); }
static void a_connection_of_ipv6(void) { looked_at(AF_INET6, 0, "::1", "[::1]"); }
static void a_connection_of_both(void) { looked_at(AF_INET, 1, "::ffff:127.0.0.1", "127.0.0.0/255.0.0.0"); }

static void a_connection_of_this_machine(void)
{
    int ends[2];
    struct request_info *request = fresh();
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    rules("ALL: localhost\n", "ALL: ALL\n");
    request_set(request, RQ_FILE, ends[1], 0);
    sock_host(request);
    EXPECT(!strcmp(eval_hostaddr(request->client), "localhost"));
    EXPECT(!strcmp(eval_client(request), "localhost"));
    EXPECT(hosts_access(request) == 1);
}

static void a_datagram(void)
{
    struct sockaddr_storage address;
    socklen_t length;
    char got[16];
    int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
    struct request_info *request = fresh();
    any_port(&address, &length, AF_INET);
    EXPECT(bind(server, (struct sockaddr *) &address, length) == 0);
    EXPECT(getsockname(server, (struct sockaddr *) &address, &length) == 0);
    EXPECT(sendto(client, "ping", 4, 0, (struct sockaddr *) &address, length) == 4);
    EXPECT(sendto(client, "pong", 4, 0, (struct sockaddr *) &address, length) == 4);
    rules("ALL: 127.0.0.1\n", "ALL: ALL\n");
    request_set(request, RQ_DAEMON, "in.testd", RQ_FILE, server, 0);
    sock_host(request);
    EXPECT(request->sink != NULL);
    EXPECT(!strcmp(eval_hostaddr(request->client), "127.0.0.1"));
    EXPECT(hosts_access(request) == 1);
    /* Nobody is asked for the user behind a datagram. */
    EXPECT(!strcmp(eval_user(request), "unknown") && started("own-ident") == 0);
    /* It has stayed in the queue; the sink takes one off. */
    EXPECT(recv(server, got, sizeof got, MSG_PEEK | MSG_DONTWAIT) == 4 && !memcmp(got, "ping", 4));
    request->sink(server);
    EXPECT(recv(server, got, sizeof got, MSG_DONTWAIT) == 4 && !memcmp(got, "pong", 4));
}

static void addresses_belong_to_their_request(void)
{
    int one[2], two[2];
    struct request_info *first_one = fresh(), *second = fresh();
    char port[16];
    EXPECT(connected(AF_INET, 0, one) && connected(AF_INET, 0, two));
    request_set(first_one, RQ_FILE, one[1], 0);
    request_set(second, RQ_FILE, two[1], 0);
    sock_host(first_one);
    strcpy(port, eval_port(first_one->client->sin));
    sock_host(second);
    EXPECT(!strcmp(eval_port(first_one->client->sin), port));
    EXPECT(strcmp(eval_port(second->client->sin), port));
}

/* A server that lasts sees rules as they are now. */
static void rules_are_read_each_time(void)
{
    const struct { const char *allow; const char *deny; int granted; } days[] = {
        { "", "", 1 }, { "", "ALL: 192.0.2.7\n", 0 }, { "ALL: 192.0.2.7\n", "ALL: 192.0.2.7\n", 1 },
        { "ALL: ALL: deny\n", "", 0 }, { "", "ALL: 192.0.2.8\n", 1 },
    };
    struct request_info *request = stated();
    for (size_t day = 0; day < COUNT(days); day++) {
        rules(days[day].allow, days[day].deny);
        EXPECT(hosts_access(request) == days[day].granted);
    }
}

static void severities_are_the_programs(void)
{
    struct request_info *request = stated();
    rules("ALL: ALL: severity local2.debug\n", "");
    EXPECT(hosts_access(request) == 1);
    EXPECT(allow_severity == (LOG_LOCAL2 | LOG_DEBUG) && deny_severity == (LOG_LOCAL2 | LOG_DEBUG));
    refuse(request);
    EXPECT(logged("refused connect from") && logged("refused connect from")->number == (LOG_LOCAL2 | LOG_DEBUG));
}

/* A program that keeps one request for all its clients: one that has gone spoils nothing for the next. */
static void a_client_that_has_gone_is_the_only_one_refused(void)
{
    int ends[2];
    struct request_info *request = stated();
    EXPECT(connected(AF_INET, 0, ends));
    rules("", "");
    request_init(request, RQ_DAEMON, "d", RQ_FILE, -1, 0);
    sock_host(request);
    EXPECT(logged("can't get client address") && hosts_access(request) == 0);
    request_set(request, RQ_FILE, ends[1], 0);
    sock_host(request);
    EXPECT(hosts_access(request) == 1);
    request_set(request, RQ_USER, (char *) NULL, 0);
    sock_host(request);
    EXPECT(hosts_access(request) == 0);
}

/* Rules in brackets reach every address of IPv6, whatever its scope says, and whether or not there is such
 * an interface. */
static void a_scope_hides_nobody(void)
{
    const struct { const char *address; unsigned int scope; const char *rule; } clients[] = {
        { "fe80::1", 1, "[fe80::]/10" },      { "fe80::1", 4000000, "[fe80::]/10" },
        { "fe80::1", 4000000, "[fe80::1]" },  { "fe80::1", 4000000, "[::]/0" },
        { "2001:db8::1", 1, "[2001:db8::]/32" }, { "2001:db8::1", 4000000, "[2001:db8::]/32" },
        { "fec0::1", 1, "[fec0::]/16" },      { "ff01::1", 1, "[ff01::]/16" },
        { "::1.2.3.4", 0, ".3.4" },           { "::1.2.3.4", 0, "[::1.2.3.4]" },
    };
    for (size_t at = 0; at < COUNT(clients); at++) {
        struct sockaddr_in6 client = { .sin6_family = AF_INET6, .sin6_scope_id = clients[at].scope };
        struct request_info request;
        char rule[100];
        EXPECT(inet_pton(AF_INET6, clients[at].address, &client.sin6_addr) == 1);
        request_init(&request, RQ_DAEMON, "d", RQ_CLIENT_SIN, &client, 0);
        sock_methods(&request);
        snprintf(rule, sizeof rule, "ALL: %s\n", clients[at].rule);
        rules("", rule);
        EXPECT(hosts_access(&request) == 0);
    }
}

#define ALL(name) { #name, name, 0 }
#define OURS(name) { #name, name, 1 }

static const struct check checks[] = {
    ALL(own_shell_cmd_is_called),
    ALL(own_clean_exit_is_called),
    ALL(own_rfc931_is_asked_once),
    ALL(own_methods_are_called_when_needed),
    ALL(options_permit_and_deny),
    ALL(options_are_rehearsed),
    ALL(a_rehearsed_verdict_says_delegated),
    ALL(jumps_arrive),
    ALL(a_connection),
    ALL(a_connection_of_ipv6),
    ALL(a_connection_of_both),
    ALL(a_connection_of_this_machine),
    ALL(a_datagram),
    OURS(addresses_belong_to_their_request),
    ALL(rules_are_read_each_time),
    ALL(severities_are_the_programs),
    OURS(a_client_that_has_gone_is_the_only_one_refused),
    ALL(a_scope_hides_nobody),
};

int main(int count, char **words)
{
    return run_checks(count, words, checks, COUNT(checks));
}
