/*
 * What does the library do with what no program should give it?
 *
 * Nothing ends the program. A request that cannot be understood is refused, and a line in the log says
 * so. Nothing is written behind the room that was given, and nothing read behind the memory of a request.
 */
#define _GNU_SOURCE
#include "checks.h"
#include <arpa/inet.h>
#include <limits.h>
#include <setjmp.h>
#include <sys/socket.h>

int allow_severity = LOG_INFO;
int deny_severity = LOG_WARNING;
/* Not in tcpd.h. */
extern jmp_buf tcpd_buf;
extern unsigned long cidr_mask_addr(char *);
extern char *percent_m(char *, char *);
extern void fix_options(struct request_info *);

static const int strings[] = {
    RQ_DAEMON, RQ_USER, RQ_CLIENT_NAME, RQ_CLIENT_ADDR, RQ_SERVER_NAME, RQ_SERVER_ADDR,
};

static char *field(struct request_info *request, int key)
{
    switch (key) {
    case RQ_DAEMON: return request->daemon;
    case RQ_USER: return request->user;
    case RQ_CLIENT_NAME: return request->client->name;
    case RQ_CLIENT_ADDR: return request->client->addr;
    case RQ_SERVER_NAME: return request->server->name;
    default: return request->server->addr;
    }
}

static void is_refused(struct request_info *request)
{
    EXPECT(complained());
    EXPECT(hosts_access(request) == 0);
}

/* ------------------------------------------------------------------------------------ NULL pointers */

static void null_in_request_init(void)
{
    rules("ALL: ALL\n", "");
    for (size_t index = 0; index < COUNT(strings); index++) {
        struct request_info *request = guarded(sizeof *request);
        record->length = 0;
        EXPECT(request_init(request, RQ_FILE, -1, strings[index], NULL, 0) == request);
        is_refused(request);
    }
}

static void null_in_request_set(void)
{
    rules("ALL: ALL\n", "");
    for (size_t index = 0; index < COUNT(strings); index++) {
        struct request_info *request = stated();
        record->length = 0;
        EXPECT(request_set(request, strings[index], NULL, 0) == request);
        is_refused(request);
        /* Nor does a second look help. */
        EXPECT(hosts_access(request) == 0);
    }
}

static void null_address_is_none(void)
{
    struct request_info *request = stated();
    rules("ALL: 192.0.2.7\n", "ALL: ALL\n");
    request_set(request, RQ_CLIENT_SIN, NULL, RQ_SERVER_SIN, NULL, 0);
    EXPECT(hosts_access(request) == 1);
}

static void null_in_hosts_ctl(void)
{
    char *words[4] = { text("in.testd"), text("host.example.com"), text("192.0.2.7"), text("joe") };
    rules("ALL: ALL\n", "");
    EXPECT(hosts_ctl(words[0], words[1], words[2], words[3]) == 1);
    for (int index = 0; index < 4; index++) {
        char *kept = words[index];
        words[index] = NULL;
        record->length = 0;
        EXPECT(hosts_ctl(words[0], words[1], words[2], words[3]) == 0);
        EXPECT(complained());
        words[index] = kept;
    }
    EXPECT(hosts_ctl(NULL, NULL, NULL, NULL) == 0);
}

static void null_to_hosts_access(void)
{
    rules("ALL: ALL\n", "");
    EXPECT(hosts_access(NULL) == 0);
    EXPECT(complained());
}

static void null_tables(void)
{
    struct request_info *request = stated();
    rules("ALL: ALL\n", "");
    hosts_deny_table = NULL;
    EXPECT(hosts_access(request) == 0);
    EXPECT(complained());
    rules("", "");
    hosts_allow_table = NULL;
    EXPECT(hosts_access(stated()) == 0);
    EXPECT(complained());
}

static void null_requests(void)
{
    EXPECT(request_init(NULL, 0) == NULL);
    EXPECT(request_init(NULL, RQ_DAEMON, "in.testd", RQ_FILE, 0, 0) == NULL);
    EXPECT(request_set(NULL, RQ_CLIENT_ADDR, "192.0.2.7", 0) == NULL);
    EXPECT(request_set(NULL, 99, 0) == NULL);
    EXPECT(eval_user(NULL) && eval_hostname(NULL) && eval_hostaddr(NULL) && eval_hostinfo(NULL));
    EXPECT(eval_client(NULL) && eval_server(NULL));
    sock_host(NULL);
    sock_hostname(NULL);
    sock_hostaddr(NULL);
    fix_options(NULL);
}

static void null_texts(void)
{
    struct request_info *request = stated();
    char buffer[64] = "before";
    FILE *file = fopen("/dev/null", "r");
    EXPECT(split_at(NULL, ':') == NULL);
    EXPECT(xgets(NULL, 10, file) == NULL);
    EXPECT(xgets(buffer, sizeof buffer, NULL) == NULL);
    EXPECT(percent_x(NULL, 10, text("%a"), request) == NULL);
    EXPECT(percent_x(buffer, sizeof buffer, NULL, request) == buffer && !buffer[0]);
    EXPECT(percent_x(buffer, sizeof buffer, text("%a"), NULL) == buffer && !buffer[0]);
    EXPECT(percent_m(NULL, text("%m")) == NULL);
    EXPECT(percent_m(buffer, NULL) == buffer);
    /* Garbage has an answer, and nothing is garbage. */
    EXPECT(dot_quad_addr(NULL) == dot_quad_addr(text("no address")));
    EXPECT(cidr_mask_addr(NULL) == cidr_mask_addr(text("no length")));
    shell_cmd(NULL);
    tcpd_warn(NULL);
}

static void null_to_rfc931(void)
{
    char user[STRING_LENGTH] = "before";
    struct sockaddr_in end = { .sin_family = AF_INET };
    struct sockaddr *some = (struct sockaddr *) &end;
    rfc931(NULL, NULL, user);
    EXPECT(!strcmp(user, "unknown"));
    rfc931(some, NULL, user);
    EXPECT(!strcmp(user, "unknown"));
    rfc931(NULL, some, user);
    EXPECT(!strcmp(user, "unknown"));
    rfc931(NULL, NULL, NULL);
}

static void null_port(void)
{
    EXPECT(!strcmp(eval_port(NULL), "0"));
}

static void null_options(void)
{
    struct request_info *request = stated();
    int to = setjmp(tcpd_buf);
    if (to == 0)
        process_options(NULL, request);
    EXPECT(to == -1);
    to = setjmp(tcpd_buf);
    if (to == 0)
        process_options(text("allow"), NULL);
    EXPECT(to == -1);
}

static void null_jump(void)
{
    int to = setjmp(tcpd_buf);
    if (to == 0) {
        tcpd_jump(NULL);
        EXPECT(!"came back");
    }
    EXPECT(to == -1);
}

static void null_to_refuse(void)
{
    refuse(NULL);
    EXPECT(!"came back");
}

static void null_to_clean_exit(void)
{
    clean_exit(NULL);
    EXPECT(!"came back");
}

/* ------------------------------------------------------------------------------- keys and lengths */

static const int strange_keys[] = { 10, 11, 99, 4096, INT_MAX };

static void unknown_keys_are_named(void)
{
    for (size_t index = 0; index < COUNT(strange_keys); index++) {
        const struct entry *line;
        char words[64];
        struct request_info *request = fresh();
        record->length = 0;
        EXPECT(request_set(request, RQ_DAEMON, "first", strange_keys[index], RQ_DAEMON, "last", 0) == request);
        snprintf(words, sizeof words, "warning: request_fill: invalid key: %d", strange_keys[index]);
        line = logged(words);
        EXPECT(line && line->number == LOG_ERR && !strcmp(record_text(line), words));
        /* What follows is not looked at. */
        EXPECT(!strcmp(request->daemon, "first"));
    }
}

static void unknown_keys_refuse(void)
{
    rules("ALL: ALL\n", "");
    for (size_t index = 0; index < COUNT(strange_keys); index++) {
        struct request_info *request = guarded(sizeof *request);
        record->length = 0;
        request_init(request, RQ_DAEMON, "in.testd", strange_keys[index], 0);
        is_refused(request);
        record->length = 0;
        request = stated();
        request_set(request, strange_keys[index], 0);
        is_refused(request);
        /* A request that is begun anew is a new one. */
        request_init(request, RQ_DAEMON, "in.testd", RQ_CLIENT_ADDR, "192.0.2.7", 0);
        EXPECT(hosts_access(request) == 1);
    }
}

static void negative_keys_end_the_list(void)
{
    struct request_info *request = fresh();
    EXPECT(request_set(request, RQ_USER, "joe", -1, RQ_USER, "jim", 0) == request);
    EXPECT(!strcmp(request->user, "joe") && !logged(NULL));
    EXPECT(request_init(request, INT_MIN) == request && !logged(NULL));
}

static char *ten_thousand(int byte)
{
    char *all = guarded(10001);
    memset(all, byte, 10000);
    all[10000] = 0;
    return all;
}

static void long_texts_are_cut(void)
{
    char *all = ten_thousand('x');
    for (size_t index = 0; index < COUNT(strings); index++) {
        struct request_info *request = stated(), *before = stated();
        request_set(request, strings[index], all, 0);
        EXPECT(strlen(field(request, strings[index])) == STRING_LENGTH - 1);
        EXPECT(!strncmp(field(request, strings[index]), all, STRING_LENGTH - 1));
        /* And nothing else has changed. */
        memcpy(field(before, strings[index]), field(request, strings[index]), STRING_LENGTH);
        for (size_t other = 0; other < COUNT(strings); other++)
            EXPECT(!strcmp(field(request, strings[other]), field(before, strings[other])));
        EXPECT(request->fd == -1 && !strcmp(request->pid, before->pid));
        EXPECT(request->client->request == request && request->server->request == request);
        EXPECT(!request->client->sin && !request->server->sin && !request->sink && !request->config);
        EXPECT(request_init(request, strings[index], all, 0) == request);
        EXPECT(strlen(field(request, strings[index])) == STRING_LENGTH - 1);
    }
}

static void long_texts_are_decided_about(void)
{
    char *all = ten_thousand('x');
    struct request_info *request = stated();
    rules("ALL: 192.0.2.7\n", "ALL: ALL\n");
    request_set(request, RQ_DAEMON, all, RQ_USER, all, RQ_CLIENT_NAME, all, RQ_SERVER_NAME, all, 0);
    EXPECT(hosts_access(request) == 1);
    request_set(request, RQ_CLIENT_ADDR, all, 0);
    EXPECT(hosts_access(request) == 0);
    EXPECT(strlen(eval_client(request)) < 2 * STRING_LENGTH + 2);
    EXPECT(strlen(eval_server(request)) < 2 * STRING_LENGTH + 2);
    EXPECT(hosts_ctl(all, all, text("192.0.2.7"), all) == 1);
    EXPECT(hosts_ctl(all, all, all, all) == 0);
}

/* No field of it has an end, and behind it no memory is. */
static struct request_info *endless(int byte)
{
    struct request_info *request = fresh();
    memset(request->pid, byte, sizeof request->pid);
    for (size_t index = 0; index < COUNT(strings); index++)
        memset(field(request, strings[index]), byte, STRING_LENGTH);
    return request;
}

static void texts_without_an_end(void)
{
    const struct { const char *allow; const char *deny; } tables[] = {
        { "ALL: 192.0.2.7\n", "ALL: ALL\n" },
        { "ALL: ALL: spawn true %a%A%c%d%h%H%n%N%p%s%u%r%R\n", "" },
        { "*x*: *x*@*x*\n", "ALL: ALL\n" },
        { "ALL@.x: .x\n", "ALL: ALL\n" },
    };
    char buffer[65536];
    struct request_info *request;
    for (size_t index = 0; index < COUNT(tables); index++) {
        int answer;
        rules(tables[index].allow, tables[index].deny);
        answer = hosts_access(endless('x'));
        EXPECT(answer == 0 || answer == 1);
        answer = hosts_access(endless(0xff));
        EXPECT(answer == 0 || answer == 1);
    }
    request = endless('x');
    EXPECT(strlen(eval_user(request)) < STRING_LENGTH);
    EXPECT(strlen(eval_hostname(request->client)) < STRING_LENGTH);
    EXPECT(strlen(eval_hostaddr(request->server)) < STRING_LENGTH);
    EXPECT(strlen(eval_hostinfo(request->server)) < STRING_LENGTH);
    request = endless('x');
    EXPECT(strlen(eval_client(request)) < 2 * STRING_LENGTH + 2);
    EXPECT(strlen(eval_server(request)) < 2 * STRING_LENGTH + 2);
    request = endless('x');
    percent_x(buffer, sizeof buffer, text("%a%A%c%d%h%H%n%N%p%s%u%r%R"), request);
    EXPECT(strlen(buffer) < sizeof buffer);
    tcpd_warn(text("%s"), ten_thousand('x'));
    tcpd_warn(text("%.128s"), endless('x')->user);
}

static void a_request_of_zeros(void)
{
    struct request_info *request = guarded(sizeof *request);
    char buffer[256];
    int answer;
    memset(request, 0, sizeof *request);
    EXPECT(!strcmp(eval_user(request), "unknown"));
    memset(request, 0, sizeof *request);
    EXPECT(!strcmp(eval_hostname(request->client), "unknown"));
    EXPECT(!strcmp(eval_hostname(request->server), "unknown"));
    memset(request, 0, sizeof *request);
    EXPECT(!strcmp(eval_hostaddr(request->client), "unknown"));
    EXPECT(!strcmp(eval_hostaddr(request->server), "unknown"));
    memset(request, 0, sizeof *request);
    EXPECT(!strcmp(eval_hostinfo(request->client), "unknown"));
    EXPECT(!strcmp(eval_client(request), "unknown"));
    memset(request, 0, sizeof *request);
    EXPECT(eval_server(request) != NULL);
    memset(request, 0, sizeof *request);
    sock_hostname(request->client);
    sock_hostaddr(request->client);
    EXPECT(percent_x(buffer, sizeof buffer, text("%a %n %u %d %s %c"), request) == buffer);
    memset(request, 0, sizeof *request);
    rules("ALL: 192.0.2.7\n", "ALL: ALL: spawn true %a%A%c%d%h%H%n%N%p%s%u%r%R\n");
    EXPECT(hosts_access(request) == 0);
    memset(request, 0, sizeof *request);
    rules("", "ALL: .example.com ALL@ALL\n");
    answer = hosts_access(request);
    EXPECT(answer == 0 || answer == 1);
}

/* What is begun, and nothing is known of. */
static void a_request_of_nothing(void)
{
    struct request_info *request = fresh();
    EXPECT(request->fd == -1 && !strcmp(request->daemon, "unknown") && atoi(request->pid) == getpid());
    EXPECT(!strcmp(eval_user(request), "unknown"));
    EXPECT(!strcmp(eval_hostname(request->client), "unknown"));
    EXPECT(!strcmp(eval_hostaddr(request->server), "unknown"));
    EXPECT(!strcmp(eval_hostinfo(request->server), "unknown"));
    EXPECT(!strcmp(eval_client(request), "unknown"));
    EXPECT(!strcmp(eval_server(request), "unknown"));
}

/* ----------------------------------------------------------------------------------- descriptors */

/* Descriptors that are no connection. The list ends with 12345. */
static const int *no_connections(void)
{
    static int all[12];
    int pipes[2], closed = open("/dev/null", O_RDONLY);
    EXPECT(pipe(pipes) == 0);
    close(closed);
    all[0] = -1;
    all[1] = 9999;
    all[2] = INT_MAX;
    all[3] = INT_MIN;
    all[4] = pipes[0];
    all[5] = pipes[1];
    all[6] = open("/dev/null", O_RDWR);
    all[7] = open("/", O_RDONLY | O_DIRECTORY);
    all[8] = open(path("plain"), O_RDWR | O_CREAT, 0600);
    all[9] = socket(AF_INET, SOCK_STREAM, 0);
    close(closed = dup(all[6]));
    all[10] = closed;
    all[11] = 12345;
    return all;
}

/* All but those that no socket function can be asked about. */
static void descriptors_that_are_no_connection(void)
{
    for (const int *fd = no_connections(); *fd != 12345; fd++) {
        struct request_info *request = fresh();
        record->length = 0;
        request_set(request, RQ_FILE, *fd, 0);
        sock_host(request);
        EXPECT(complained());
        EXPECT(!strcmp(eval_hostaddr(request->client), "unknown"));
        EXPECT(!strcmp(eval_hostname(request->client), "unknown"));
        EXPECT(!strcmp(eval_hostaddr(request->server), "unknown"));
        EXPECT(!strcmp(eval_client(request), "unknown"));
        EXPECT(!strcmp(eval_user(request), "unknown"));
    }
}

static void what_is_no_connection_is_refused(void)
{
    for (const int *fd = no_connections(); *fd != 12345; fd++) {
        struct request_info *request = guarded(sizeof *request);
        rules("ALL: ALL\n", "");
        request_init(request, RQ_DAEMON, "in.testd", RQ_FILE, *fd, 0);
        sock_host(request);
        is_refused(request);
    }
}

/* A descriptor that nobody has looked at is nobody's business until a rule needs it. */
static void options_on_what_is_no_connection(void)
{
    char allow[4096];
    mkdir(path("banners"), 0755);
    write_file("banners/in.testd", "Hello %a\n");
    snprintf(allow, sizeof allow, "ALL: ALL: banners %s/banners: linger 5: keepalive\n", directory);
    for (const int *fd = no_connections(); *fd != 12345; fd++) {
        struct request_info *request = stated();
        /* A banner into a pipe is a banner. */
        if (*fd < 0 || *fd > 1000 || fcntl(*fd, F_GETFD) < 0) {
            rules(allow, "");
            request_set(request, RQ_FILE, *fd, 0);
            EXPECT(hosts_access(request) == 1);
        }
    }
}

static void twist_on_what_is_no_descriptor(void)
{
    const int none[] = { -1, 9999, INT_MAX, INT_MIN };
    for (size_t index = 0; index < COUNT(none); index++) {
        struct request_info *request = stated();
        resident = -1;
        rules("ALL: ALL: twist echo no\n", "");
        request_set(request, RQ_FILE, none[index], 0);
        EXPECT(hosts_access(request) == 0);
        EXPECT(complained() && !started("twist"));
    }
}

/* ----------------------------------------------------------------------------------------- texts */

static void percent_x_expands(void)
{
    struct request_info *request = stated();
    char buffer[128], *wanted = text("192.0.2.7 in.testd 100% joe@host.example.com in.testd@server.example.com");
    EXPECT(percent_x(buffer, sizeof buffer, text("%a %d 100%% %c %s"), request) == buffer);
    EXPECT(!strcmp(buffer, wanted));
    EXPECT(percent_x(buffer, sizeof buffer, text(""), request) == buffer && !buffer[0]);
    EXPECT(percent_x(buffer, sizeof buffer, text("%"), request) == buffer && !strcmp(buffer, "%"));
    record->length = 0;
    EXPECT(percent_x(buffer, sizeof buffer, text("a%zb"), request) == buffer && !strcmp(buffer, "ab"));
    EXPECT(logged("unrecognized %z"));
}

static void percent_x_keeps_to_its_room(void)
{
    struct request_info *request = stated();
    const char *texts[] = { "%a", "192.0.2.7", "%", "%%", "", "%zzz", "%u" };
    for (size_t index = 0; index < COUNT(texts); index++) {
        for (int size = 0; size < 12; size++) {
            char *buffer = guarded((size_t) size);
            memset(buffer, 'b', (size_t) size);
            EXPECT(percent_x(buffer, size, text(texts[index]), request) == buffer);
            EXPECT(size == 0 || strlen(buffer) < (size_t) size);
        }
        for (int size = -1; size < 0; size = size == -1 ? -4096 : size == -4096 ? INT_MIN : 0) {
            char *buffer = guarded(0);
            EXPECT(percent_x(buffer, size, text(texts[index]), request) == buffer);
        }
    }
    {
        char *exact = guarded(10), *tight = guarded(9);
        EXPECT(!strcmp(percent_x(exact, 10, text("%a"), request), "192.0.2.7"));
        record->length = 0;
        percent_x(tight, 9, text("%a"), request);
        EXPECT(complained() && strlen(tight) < 9);
    }
}

static void percent_m_says_why(void)
{
    char buffer[256];
    errno = ENOENT;
    EXPECT(percent_m(buffer, text("open: %m!")) == buffer);
    EXPECT(!strcmp(buffer, "open: No such file or directory!"));
    errno = ENOENT;
    EXPECT(!strcmp(percent_m(buffer, text("%m%m")), "No such file or directoryNo such file or directory"));
    EXPECT(!strcmp(percent_m(buffer, text("")), ""));
    EXPECT(!strcmp(percent_m(buffer, text("100% %s %")), "100% %s %"));
}

static void split_at_splits(void)
{
    char plain[] = "a:b:c", brackets[] = "[::1]:x", none[] = "abc", open[] = "[a:b", empty[] = "", first[] = ":b";
    EXPECT(!strcmp(split_at(plain, ':'), "b:c") && !strcmp(plain, "a"));
    EXPECT(!strcmp(split_at(brackets, ':'), "x") && !strcmp(brackets, "[::1]"));
    EXPECT(split_at(none, ':') == NULL && !strcmp(none, "abc"));
    EXPECT(split_at(open, ':') == NULL);
    EXPECT(split_at(empty, ':') == NULL);
    EXPECT(!strcmp(split_at(first, ':'), "b") && !first[0]);
}

static void split_at_odd_places(void)
{
    char *end = guarded(2);
    char closing[] = "]a:b";
    memcpy(end, "a", 2);
    EXPECT(split_at(end, ':') == NULL);
    EXPECT(split_at(end, -1) == NULL);
    EXPECT(split_at(end, INT_MAX) == NULL);
    split_at(closing, ':');
    memcpy(end, ":", 2);
    EXPECT(split_at(end, ':') == end + 1);
}

static FILE *lines(const char *content)
{
    write_file("lines", content);
    return fopen(path("lines"), "r");
}

static void xgets_joins_lines(void)
{
    char buffer[64];
    FILE *file = lines("one\ntwo\\\nthree\n\\\n\\\nfour\nlast");
    tcpd_context.line = 0;
    EXPECT(!strcmp(xgets(buffer, sizeof buffer, file), "one\n") && tcpd_context.line == 1);
    EXPECT(!strcmp(xgets(buffer, sizeof buffer, file), "twothree\n") && tcpd_context.line == 3);
    EXPECT(!strcmp(xgets(buffer, sizeof buffer, file), "four\n") && tcpd_context.line == 6);
    EXPECT(!strcmp(xgets(buffer, sizeof buffer, file), "last") && tcpd_context.line == 6);
    EXPECT(xgets(buffer, sizeof buffer, file) == NULL);
}

static void xgets_keeps_to_its_room(void)
{
    char *all = ten_thousand('y');
    for (int size = 2; size < 20; size++) {
        char *buffer = guarded((size_t) size);
        FILE *file = lines(all);
        EXPECT(xgets(buffer, size, file) == buffer);
        EXPECT(strlen(buffer) == (size_t) size - 1);
        fclose(file);
    }
}

static void xgets_without_room(void)
{
    const int sizes[] = { 1, 0, -1, INT_MIN };
    for (size_t index = 0; index < COUNT(sizes); index++) {
        char *buffer = guarded(sizes[index] > 0 ? (size_t) sizes[index] : 0), *line;
        FILE *file = lines("some text\n");
        line = xgets(buffer, sizes[index], file);
        EXPECT(line == NULL || (sizes[index] == 1 && !line[0]));
        fclose(file);
    }
}

static void addresses_of_garbage(void)
{
    char *digits = ten_thousand('1'), *dots = ten_thousand('.');
    const char *garbage[] = {
        "", "1", "1.2.3", "1.2.3.4.5", "a.b.c.d", "256.1.1.1", "1.2.3.4x", "-1.2.3.4", "1..2.3", "....",
        "0x.1.1.1", "1.2.3.08", "::1", "1.2.3.4/8", "\xff.1.1.1", digits, dots,
    };
    for (size_t index = 0; index < COUNT(garbage); index++)
        EXPECT(dot_quad_addr(text(garbage[index])) == INADDR_NONE);
    EXPECT(dot_quad_addr(text("192.0.2.7")) == htonl(0xc0000207));
    EXPECT(dot_quad_addr(text("0300.0.2.7")) == htonl(0xc0000207));
    EXPECT(dot_quad_addr(text("0.0.0.0")) == 0);
}

static void masks_of_garbage(void)
{
    const char *garbage[] = { "", "x", "0", "-1", "33", "99999999999999999999", "/24" };
    for (size_t index = 0; index < COUNT(garbage); index++)
        EXPECT(cidr_mask_addr(text(garbage[index])) == 0);
    EXPECT(cidr_mask_addr(text("8")) == htonl(0xff000000));
    EXPECT(cidr_mask_addr(text("24")) == htonl(0xffffff00));
    EXPECT(cidr_mask_addr(text("24x")) == htonl(0xffffff00));
    EXPECT(cidr_mask_addr(text("32")) == 0xffffffff);
    cidr_mask_addr(ten_thousand('1'));
    cidr_mask_addr(ten_thousand('9'));
}

/* What a client says is never a format. */
static void percent_signs_in_facts(void)
{
    struct request_info *request = stated();
    char *odd = text("%n%n%s%s%1000000d");
    request_set(request, RQ_USER, odd, RQ_CLIENT_NAME, odd, RQ_DAEMON, odd, 0);
    rules("ALL: ALL: spawn true %u %n %d: allow\n", "");
    hosts_access_verbose = 2;
    EXPECT(hosts_access(request) == 1);
    EXPECT(!strcmp(eval_user(request), odd));
    tcpd_warn(text("%s"), odd);
    EXPECT(logged(odd));
    refuse(request);
}

static void warnings_say_why(void)
{
    const struct entry *line;
    errno = ENOENT;
    tcpd_warn(text("%s: %m"), "file");
    line = logged("warning: file: No such file or directory");
    EXPECT(line && line->number == LOG_ERR);
    tcpd_context.file = text("table");
    tcpd_context.line = 7;
    tcpd_warn(text("%d"), 12);
    EXPECT(logged("warning: table, line 7: 12"));
}

static void warnings_end(void)
{
    char *all = ten_thousand('w');
    int to = setjmp(tcpd_buf);
    if (to == 0) {
        tcpd_warn(all);
        tcpd_warn(text("%s%s%s"), all, all, all);
        tcpd_jump(text("%s"), all);
    }
    EXPECT(to == -1);
}

/* ------------------------------------------------------------------------------------------- list */

#define ALL(name) { #name, name, 0 }
#define OURS(name) { #name, name, 1 }

static const struct check checks[] = {
    OURS(null_in_request_init),
    OURS(null_in_request_set),
    ALL(null_address_is_none),
    OURS(null_in_hosts_ctl),
    OURS(null_to_hosts_access),
    OURS(null_tables),
    OURS(null_requests),
    OURS(null_texts),
    OURS(null_to_rfc931),
    ALL(null_port),
    OURS(null_options),
    OURS(null_jump),
    OURS(null_to_refuse),
    OURS(null_to_clean_exit),
    ALL(unknown_keys_are_named),
    OURS(unknown_keys_refuse),
    ALL(negative_keys_end_the_list),
    ALL(long_texts_are_cut),
    ALL(long_texts_are_decided_about),
    OURS(texts_without_an_end),
    OURS(a_request_of_zeros),
    ALL(a_request_of_nothing),
    ALL(descriptors_that_are_no_connection),
    OURS(what_is_no_connection_is_refused),
    ALL(options_on_what_is_no_connection),
    OURS(twist_on_what_is_no_descriptor),
    ALL(percent_x_expands),
    OURS(percent_x_keeps_to_its_room),
    ALL(percent_m_says_why),
    ALL(split_at_splits),
    ALL(split_at_odd_places),
    ALL(xgets_joins_lines),
    ALL(xgets_keeps_to_its_room),
    OURS(xgets_without_room),
    ALL(addresses_of_garbage),
    ALL(masks_of_garbage),
    ALL(percent_signs_in_facts),
    ALL(warnings_say_why),
    OURS(warnings_end),
};

int main(int count, char **words)
{
    return run_checks(count, words, checks, COUNT(checks));
}
